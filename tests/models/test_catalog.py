from __future__ import annotations

import urllib.error
from typing import Any

import huggingface_hub.errors
import pytest
import timm
import torch
import torchvision
from torch import nn

from excite.config.imagenet import IMAGENET_MEAN, IMAGENET_STD
from excite.errors import ExciteError
from excite.insertion.insert import inserted_sites
from excite.models.catalog import create_model, input_statistics, list_models
from excite.models.densenet_config import VARIANTS
from excite.models.registry import REGISTRY
from excite.models.summary import summarize

OTHER_OWN = [name for name, row in REGISTRY.items() if not row.dense]
REAL_TIMM = timm.create_model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("densenet121", "excite.models.densenet"),
        ("excite:densenet121", "excite.models.densenet"),
        ("timm:densenet121", "timm.models.densenet"),
        ("torchvision:densenet121", "torchvision.models.densenet"),
        ("resnet18", "timm.models.resnet"),
        ("resnet18.a1_in1k", "timm.models.resnet"),
        ("torchvision:resnet18", "torchvision.models.resnet"),
        ("shufflenet_v2_x0_5", "torchvision.models.shufflenetv2"),
    ],
)
def test_own_models_come_first_then_timm_then_torchvision_and_a_prefix_chooses(
    name: str, module: str
) -> None:
    model = create_model(name, num_classes=4).eval()
    assert type(model).__module__ == module
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 4)


def test_attention_goes_into_own_models_with_options_and_placement() -> None:
    options = {"attention": "se", "placement": "block", "attention_options": {"reduction": 4}}
    model = create_model("densenet_bc_40_12", num_classes=3, **options)
    assert model.features.attention1.fc1.out_features == (24 + 6 * 12) // 4


def test_attention_is_inserted_into_other_networks() -> None:
    model = create_model(
        "resnet18", num_classes=3, attention="se", stages=[5], attention_options={"reduction": 8}
    )
    assert [site.path for site in inserted_sites(model)] == ["layer4.0.bn2", "layer4.1.bn2"]
    assert model.layer4[0].bn2.attention.fc1.out_features == 512 // 8


def test_the_same_seed_gives_the_same_network_with_attention_and_without() -> None:
    torch.manual_seed(0)
    plain = create_model("resnet18", num_classes=3).eval()
    torch.manual_seed(0)
    attended = create_model("resnet18", num_classes=3, attention="se", attention_options={"identity": True})
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(plain(images), attended.eval()(images))


def test_placements_of_another_kind_of_network_are_refused() -> None:
    with pytest.raises(ExciteError, match="unknown placement 'final'"):
        create_model("resnet18", attention="se", placement="final")
    with pytest.raises(ExciteError, match="unknown placement 'standard'"):
        create_model("densenet121", attention="se", placement="standard")
    with pytest.raises(ExciteError, match="densenet121: where and stages do not apply"):
        create_model("densenet121", attention="se", stages=[5])
    with pytest.raises(ExciteError, match="VisionTransformer contains no known block"):
        create_model("vit_tiny_patch16_224", attention="se")


@pytest.mark.parametrize(
    ("options", "kernel"),
    [
        ({"image_size": 32}, (3, 3)),
        ({"image_size": 64}, (3, 3)),
        ({"image_size": 65}, (7, 7)),
        ({}, (7, 7)),
        ({"image_size": 64, "stem": "imagenet"}, (7, 7)),
        ({"image_size": 224, "stem": "cifar"}, (3, 3)),
    ],
)
def test_small_images_choose_the_cifar_stem_unless_it_is_said(
    options: dict[str, Any], kernel: tuple[int, int]
) -> None:
    model = create_model("densenet121", growth_rate=4, num_classes=2, **options)
    assert model.features.conv0.kernel_size == kernel


@pytest.mark.parametrize("options", [{"image_size": 28, "stem": "imagenet"}, {"image_size": 7}])
def test_images_that_are_too_small_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ExciteError, match=r"image size .* is too small: this network needs at least (29|8) "):
        create_model("densenet121", growth_rate=4, **options)


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "torchvision:vit_b_32", "resnet18"]
)
def test_models_built_for_one_size_are_built_for_this_one(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=2, image_size=192).eval()
        assert model(torch.empty(1, 3, 192, 192)).shape == (1, 2)


@pytest.mark.parametrize("name", ["densenet_bc_40_12", "timm:resnet18"])
def test_in_chans(name: str) -> None:
    assert create_model(name, in_chans=1, num_classes=2).eval()(torch.randn(1, 1, 32, 32)).shape == (1, 2)


def test_torchvision_takes_three_channels_only() -> None:
    with pytest.raises(ExciteError, match=r"take 3 channels .use timm:resnet18"):
        create_model("torchvision:resnet18", in_chans=1)


@pytest.mark.parametrize("name", ["torchvision:googlenet", "torchvision:inception_v3"])
def test_training_output_is_one_tensor(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=2, init_weights=False).train()
        assert model(torch.empty(2, 3, 299, 299)).shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("densnet121", "did you mean 'densenet121'"),
        ("reset50", "did you mean 'resnet50'"),
        ("torchvision:resnet5", "did you mean 'torchvision:resnet50'"),
        ("timm:squeezenet1_0", "did you mean"),
        ("keras:resnet50", "did you mean"),
    ],
)
def test_an_unknown_model_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ExciteError, match=f"unknown model '{name}' .*{hint}") as caught:
        create_model(name)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["densenet121", "timm:resnet18", "torchvision:resnet18"])
def test_an_unknown_option_is_one_line(name: str) -> None:
    with pytest.raises(ExciteError, match="drop_rte") as caught:
        create_model(name, drop_rte=0.1)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_list_models_covers_all_libraries_and_filters() -> None:
    names = list_models()
    assert names == sorted(set(names))
    assert set(REGISTRY) <= set(names)
    assert {"resnet50", "shufflenet_v2_x0_5", "vit_base_patch16_224"} <= set(names)
    assert "fasterrcnn_resnet50_fpn" not in names  # a detector
    assert list_models("densenet_bc_*") == sorted(name for name in VARIANTS if "_bc_" in name)
    assert list_models("torchvision:vgg11*") == ["torchvision:vgg11", "torchvision:vgg11_bn"]


def test_input_statistics_are_what_the_weights_expect() -> None:
    assert input_statistics("densenet121") == (IMAGENET_MEAN, IMAGENET_STD)
    assert input_statistics("torchvision:resnet18") == (IMAGENET_MEAN, IMAGENET_STD)
    assert input_statistics("mobilenetv1_100") == ((0.5,) * 3, (0.5,) * 3)


def trained_elsewhere(name: str, *, pretrained: bool = False, **options: Any) -> nn.Module:
    """timm.create_model as if the hub could be reached, with weights that no seed gives."""
    torch.manual_seed(99)
    return REAL_TIMM(name, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("num_classes", "in_chans"), [(1000, 3), (7, 3), (7, 1), (0, 3)])
def test_pretrained_takes_the_hubs_trunk_and_the_classifier_if_it_fits(
    monkeypatch: pytest.MonkeyPatch, num_classes: int, in_chans: int
) -> None:
    monkeypatch.setattr(timm, "create_model", trained_elsewhere)
    ours = create_model(
        "densenet121",
        pretrained=True,
        num_classes=num_classes,
        in_chans=in_chans,
        attention="se",
        placement="final+layer",
        attention_options={"identity": True},
        image_size=64,  # keeps the ImageNet stem: the weights were made with it
    ).eval()
    theirs = trained_elsewhere("densenet121", in_chans=in_chans).eval()
    images = torch.randn(1, in_chans, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.forward_features(images), theirs.forward_features(images))
        if num_classes == 1000:
            torch.testing.assert_close(ours(images), theirs(images))
        else:
            assert ours(images).shape == (1, num_classes or 1024)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet264", "densenet_bc_40_12"])
def test_networks_without_pretrained_weights_are_refused(name: str) -> None:
    if not REGISTRY[name].pretrained:
        what = r"no pretrained weights for this network .choose from densenet121, "
        with pytest.raises(ExciteError, match=what):
            create_model(name, pretrained=True)


@pytest.mark.parametrize("options", [{"stem": "cifar"}, {"growth_rate": 16}, {"block_config": (6, 12, 24)}])
def test_pretrained_weights_that_do_not_fit_the_options_are_refused(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(timm, "create_model", trained_elsewhere)
    with pytest.raises(ExciteError, match="do not fit these options"):
        create_model("densenet121", pretrained=True, **options)


class NetworkError(Exception):
    pass


NetworkError.__module__ = "httpx._exceptions"  # a client whose errors are no OSError


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("Name or service not known"),
        ConnectionResetError("reset"),
        huggingface_hub.errors.LocalEntryNotFoundError("not in the cache\nand offline"),
        NetworkError("timed out"),
    ],
)
@pytest.mark.parametrize("name", ["densenet121", "timm:resnet18", "torchvision:resnet18"])
def test_an_unreachable_hub_points_to_a_weights_file(
    monkeypatch: pytest.MonkeyPatch, name: str, error: Exception
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    monkeypatch.setattr(torchvision.models, "get_model", fail)
    with pytest.raises(ExciteError, match=r"could not download .*--weights FILE.safetensors") as caught:
        create_model(name, pretrained=True)
    assert "\n" not in str(caught.value)


def test_pretrained_torchvision_gets_a_fresh_head_of_the_right_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def get_model(name: str, weights: str | None, **options: Any) -> nn.Module:
        asked.update(options, weights=weights)
        return torchvision.models.resnet18()

    monkeypatch.setattr(torchvision.models, "get_model", get_model)
    model = create_model("torchvision:resnet18", pretrained=True, num_classes=4)
    assert asked == {"weights": "DEFAULT"}
    assert model.fc.out_features == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", REGISTRY)
def test_own_models_have_the_declared_cost(name: str) -> None:
    declared = REGISTRY[name]
    with torch.device("meta"):
        model = create_model(name, num_classes=declared.num_classes)
    cost = summarize(model, declared.image_size)
    assert (cost.parameters, cost.multiply_adds) == (declared.parameters, declared.multiply_adds)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER_OWN)
def test_own_models_refuse_unsupported_options(name: str) -> None:
    with pytest.raises(ExciteError, match=rf"{name}: unknown option 'in_chan' .did you mean 'in_chans'"):
        create_model(name, in_chan=1)
    if not REGISTRY[name].pretrained:
        what = r"no pretrained weights for this network .choose from densenet121, "
        with pytest.raises(ExciteError, match=what):
            create_model(name, pretrained=True)
