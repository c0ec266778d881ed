from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.errors import ExciteError
from excite.models import densenet
from excite.models.densenet import DenseNet
from excite.models.densenet_config import PLACEMENTS, VARIANTS

SMALL = {"growth_rate": 4, "block_config": (2, 3, 2, 2), "init_channels": 8, "num_classes": 5}
COMBINATIONS = ["+".join(names) for size in range(1, 5) for names in combinations(PLACEMENTS, size)]


def small(**options: Any) -> DenseNet:
    torch.manual_seed(0)
    return DenseNet(**{**SMALL, **options}).eval()


def attention_names(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, SqueezeExcitation)]


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet121", "densenet161", "densenet169", "densenet201"])
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_logits_equal_torchvisions_and_timms_with_their_weights(name: str, library: str) -> None:
    if library == "torchvision":
        other = torchvision.models.get_model(name, weights=None).eval()
    else:
        other = timm.create_model(name).eval()
    ours = getattr(densenet, name)().eval()
    assert ours.load_state_dict(other.state_dict()).missing_keys == []
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), other(images))


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_as_declared(name: str) -> None:
    with torch.device("meta"):
        assert parameters(getattr(densenet, name)()) == VARIANTS[name].parameters


@pytest.mark.parametrize("name", ["densenet121", "densenet161", "densenet169", "densenet201"])
def test_parameters_are_those_that_torchvision_documents(name: str) -> None:
    with torch.device("meta"):
        published = torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]
        assert parameters(getattr(densenet, name)()) == published


@pytest.mark.parametrize(
    ("name", "millions"),
    [("densenet_bc_100_12", 0.8), ("densenet_bc_250_24", 15.3), ("densenet_bc_190_40", 25.6)],
)
def test_cifar_nets_have_the_papers_size(name: str, millions: float) -> None:
    with torch.device("meta"):
        assert round(parameters(getattr(densenet, name)()) / 1e6, 1) == millions


def test_final_attention_on_121_adds_the_published_132160() -> None:
    with torch.device("meta"):
        gated = densenet.densenet121(attention="se")
    assert parameters(gated) - VARIANTS["densenet121"].parameters == 132_160
    assert attention_names(gated) == ["features.attention4"]


@pytest.mark.parametrize("placement", COMBINATIONS)
def test_each_placement_puts_one_module_at_each_of_its_sites(placement: str) -> None:
    blocks = SMALL["block_config"]
    expected = set()
    if "final" in placement:
        expected.add("features.attention4")
    if "block" in placement:
        expected |= {f"features.attention{number}" for number in range(1, 5)}
    if "transition" in placement:
        expected |= {f"features.transition{number}.attention" for number in range(1, 4)}
    if "layer" in placement:
        for number, depth in enumerate(blocks, start=1):
            expected |= {f"features.denseblock{number}.denselayer{i}.attention" for i in range(1, depth + 1)}
    model = small(attention="se", placement=placement)
    assert set(attention_names(model)) == expected
    assert set(attention_names(small(attention="se", placement=placement.split("+")))) == expected
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_without_attention_a_placement_puts_nothing() -> None:
    assert attention_names(small(placement="layer+block")) == []


@pytest.mark.parametrize("placement", COMBINATIONS)
def test_identity_attention_leaves_the_logits_bit_equal(placement: str) -> None:
    plain = small()
    gated = small(attention="se", placement=placement, attention_options={"identity": True})
    missing = gated.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert all("attention" in name for name in missing)
    images = torch.randn(2, 3, 40, 40)
    assert torch.equal(plain(images), gated(images))


@pytest.mark.parametrize("placement", COMBINATIONS)
def test_every_placement_equals_the_plain_net_gated_by_hand(placement: str) -> None:
    gated = small(attention="se", placement=placement, attention_options={"reduction": 2})
    plain = small()
    plain.load_state_dict(gated.state_dict(), strict=False)

    def gate(site: SqueezeExcitation) -> Callable[..., Tensor]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], u: Tensor) -> Tensor:
            z = u.mean((2, 3))
            v = torch.relu(z @ site.fc1.weight.T + site.fc1.bias) @ site.fc2.weight.T + site.fc2.bias
            return u / (1 + torch.exp(-v))[:, :, None, None]

        return hook

    for name in attention_names(gated):
        parent, _, leaf = name.rpartition(".")
        if parent == "features":
            target = f"features.denseblock{leaf.removeprefix('attention')}"
        elif "denselayer" in parent:
            target = f"{parent}.conv2"
        else:
            target = f"{parent}.pool"
        plain.get_submodule(target).register_forward_hook(gate(gated.get_submodule(name)))
    images = torch.randn(2, 3, 40, 40)
    torch.testing.assert_close(gated(images), plain(images))


def test_a_gate_after_the_transitions_pooling_equals_one_before_it() -> None:
    transition = densenet.Transition(8, 4, lambda channels: SqueezeExcitation(channels, 2)).eval()
    images = torch.randn(2, 8, 6, 6)
    before = transition.attention(transition.conv(transition.relu(transition.norm(images))))
    torch.testing.assert_close(transition(images), transition.pool(before))


def test_the_same_seed_gives_the_same_trunk_with_and_without_attention() -> None:
    plain = small().state_dict()
    for placement in COMBINATIONS:
        gated = small(attention="se", placement=placement).state_dict()
        assert all(torch.equal(gated[name], value) for name, value in plain.items())


def test_attention_modules_start_different_from_each_other_and_by_the_seed() -> None:
    model = small(attention="se", placement="layer")
    first, second = (model.get_submodule(name) for name in attention_names(model)[:2])
    assert not torch.equal(first.fc1.weight, second.fc1.weight)
    torch.manual_seed(1)
    other = DenseNet(**SMALL, attention="se", placement="layer")
    assert not torch.equal(other.features.denseblock1.denselayer1.attention.fc1.weight, first.fc1.weight)


def test_attention_shares_no_random_numbers_with_the_classifier() -> None:
    model = small(attention="se", num_classes=50)
    shared = torch.isin(model.features.attention4.fc1.weight, model.classifier.weight)
    assert shared.float().mean() < 0.1


def test_weights_start_as_in_the_paper() -> None:
    model = densenet.densenet121()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
    assert (model.classifier.bias == 0).all()


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("blocks", [(1,), (1, 2), (2, 2, 2), (1, 1, 1, 1)])
def test_min_image_size_is_the_smallest_that_runs(stem: str, blocks: tuple[int, ...]) -> None:
    model = small(stem=stem, block_config=blocks)

    def runs(side: int) -> bool:
        try:
            model(torch.randn(1, 3, side, side))
        except RuntimeError:
            return False
        return True

    assert next(side for side in range(1, 64) if runs(side)) == model.min_image_size


@pytest.mark.parametrize("attention", [None, "se"])
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_feature_info_names_modules_with_those_channels_and_strides(attention: str | None, stem: str) -> None:
    model = small(stem=stem, attention=attention, placement="block")
    seen = {}
    for info in model.feature_info:
        module = model.get_submodule(info["module"])
        module.register_forward_hook(lambda _, __, output, key=info["module"]: seen.update({key: output}))
    model(torch.randn(1, 3, 64, 64))
    for info in model.feature_info:
        assert seen[info["module"]].shape[1:] == (info["num_chs"], *[64 // info["reduction"]] * 2)
    assert model.num_features == model.feature_info[-1]["num_chs"]


def test_dropout_acts_in_training_only() -> None:
    model, images = small(drop_rate=0.5), torch.randn(2, 3, 32, 32)
    assert torch.equal(model(images), small()(images))
    for norm in model.train().modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eval()
    assert not torch.equal(model(images), model(images))


def test_every_parameter_learns_in_channels_last() -> None:
    model = small(attention="se", placement=PLACEMENTS, attention_options={"reduction": 1}).train()
    model = model.to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    features = model.forward_features(images)
    assert features.is_contiguous(memory_format=torch.channels_last)
    model.forward_head(features).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.slow
def test_compile_export_and_deepcopy_give_the_same_logits() -> None:
    model, images = small(attention="se", placement=PLACEMENTS), torch.randn(2, 3, 32, 32)
    expected = model(images)
    assert torch.equal(copy.deepcopy(model)(images), expected)
    torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(images), expected)
    torch.testing.assert_close(torch.export.export(model, (images,)).module()(images), expected)


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_in_chans_is_the_first_convolutions(stem: str) -> None:
    assert small(in_chans=1, stem=stem)(torch.randn(1, 1, 32, 32)).shape == (1, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"growthrate": 12}, "unknown option 'growthrate' .did you mean 'growth_rate'"),
        ({"placement": "finall", "attention": "se"}, "unknown placement 'finall' .did you mean 'final'"),
        ({"placement": []}, "placement is empty"),
        ({"placement": "final+"}, "unknown placement ''"),
        ({"attention": "sa"}, "unknown attention 'sa'"),
        ({"attention": "se", "attention_options": {"reducton": 8}}, "did you mean 'reduction'"),
        ({"stem": "imagent"}, "did you mean 'imagenet'"),
        ({"compression": 0}, "compression must be"),
        ({"drop_rate": 1.0}, "drop_rate must be"),
        ({"num_classes": -1}, "num_classes must be"),
        ({"growth_rate": 0}, "at least 1"),
        ({"block_config": ()}, "at least 1"),
        ({"block_config": (2, 0)}, "at least 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        densenet.densenet_bc_40_12(**options)
    assert caught.value.exit_code == 2


def test_a_variant_takes_any_option_by_name() -> None:
    model = densenet.densenet_bc_40_12(growth_rate=4, stem="imagenet", num_classes=3)
    assert model.classifier.out_features == 3
    assert model.features.denseblock1.denselayer1.conv2.out_channels == 4
    assert model.features.conv0.kernel_size == (7, 7)
