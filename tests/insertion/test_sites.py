"""Networks that no table knows: sites by glob, class and function; properties over random ones."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from excite.insertion.insert import insert, inserted_sites, insertions, remove
from excite.insertion.sites import Selector, sites
from tests.insertion.nets import Net, Unit, logits, unsettle

UNITS = st.lists(st.tuples(st.integers(2, 9), st.sampled_from([1, 2]), st.booleans()), min_size=1, max_size=5)
WHERE = st.sampled_from(
    ["body.*.conv", "body.*.norm", "body.*.act", "body.*", "body.0", "**.conv", Unit, nn.Conv2d]
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(UNITS, WHERE, st.sampled_from(["standard", "pre"]), st.booleans(), st.integers(0, 10))
def test_insertion_is_reversible(
    units: list[tuple[int, int, bool]], where: Selector, placement: str, training: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    model = Net(units).train(training)
    unsettle(model)
    had, x = copy.deepcopy(model.state_dict()), torch.randn(2, 3, 9, 9)
    gated = insert(model, where=where, placement=placement, reduction=2, identity=True)
    found = inserted_sites(gated)
    assert [site.path for site in found] == [
        site.path for site in sites(model, where=where, placement=placement)
    ]
    expected = logits(copy.deepcopy(model), x)
    assert torch.equal(logits(copy.deepcopy(gated), x), expected)
    state = gated.state_dict()
    assert len(state) == len(had) + 4 * len(found)
    plain = remove(gated)
    for other in (model, plain):
        assert {name: type(module) for name, module in other.named_modules()} == {
            name: type(module) for name, module in model.named_modules()
        }
        assert list(other.state_dict()) == list(had)
        assert all(
            torch.equal(value, had[name]) and torch.equal(state[name], value) for name, value in had.items()
        )
    assert torch.equal(logits(plain, x), expected)
    rebuilt = model
    for arguments in insertions(gated):
        rebuilt = insert(rebuilt, **arguments)
    assert list(rebuilt.state_dict()) == list(state)


def paths(model: nn.Module, **options: object) -> list[str]:
    return [site.path for site in sites(model, **options)]


def test_names_globs_classes_functions_and_several_of_them() -> None:
    model = torchvision.models.resnet18()
    assert paths(model, where="layer3.*.conv2") == ["layer3.0.conv2", "layer3.1.conv2"]
    assert paths(model, where="layer3.*") == ["layer3.0.bn2", "layer3.1.bn2"]
    assert paths(model, where="**.downsample") == [f"layer{n}.0.downsample.1" for n in (2, 3, 4)]
    assert paths(model, where=nn.MaxPool2d) == ["maxpool"]
    assert paths(model, where=lambda path, module: getattr(module, "stride", 0) == 2 and "layer" in path) == [
        f"layer{n}.0.bn2" for n in (2, 3, 4)
    ]
    assert paths(model, where=["layer4.1", "layer1.0.conv1"]) == ["layer1.0.conv1", "layer4.1.bn2"]
    assert paths(model, where="layer*.*", stages=[3, 5], placement="post") == [
        "layer2.0", "layer2.1", "layer4.0", "layer4.1",
    ]  # fmt: skip


def test_a_subclass_of_a_known_block_is_one() -> None:
    class Mine(torchvision.models.resnet.BasicBlock):
        pass

    model = torchvision.models.ResNet(Mine, [1, 1, 1, 1])
    assert paths(model) == [f"layer{n}.0.bn2" for n in range(1, 5)]
    assert sites(model)[0].kind.endswith("Mine")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ese", "eca", "scse", "cbam", "gct", "simam", "coordatt"])
def test_every_kind_of_attention_goes_in(name: str) -> None:
    model = torchvision.models.resnet18(num_classes=3).eval()
    gated = insert(model, name, stages=[4, 5])
    assert logits(gated, torch.randn(1, 3, 64, 64)).shape == (1, 3)
    (arguments,) = insertions(gated)
    assert arguments["attention"] == name
