"""Networks that no table knows: sites by glob, class and function; properties over random ones."""

import copy

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from excite.insertion.insert import insert, inserted_sites, insertions, remove
from excite.insertion.sites import sites
from tests.insertion.nets import logits, unsettle


class Unit(nn.Module):
    """Convolution, norm, activation, and the input again where the shape allows it."""

    def __init__(self, channels: int, width: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, stride, padding=1)
        self.norm = nn.BatchNorm2d(width) if norm else nn.GroupNorm(1, width)
        self.act = nn.ReLU(inplace=True)
        self.adds = channels == width and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        out = self.act(self.norm(self.conv(x)))
        return out + x if self.adds else out


class Net(nn.Module):
    def __init__(self, units: list[tuple[int, int, bool]]) -> None:
        super().__init__()
        self.body, channels = nn.Sequential(), 3
        for width, stride, norm in units:
            self.body.append(Unit(channels, width, stride, norm))
            channels = width
        self.head = nn.Linear(channels, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


UNITS = st.lists(st.tuples(st.integers(2, 9), st.sampled_from([1, 2]), st.booleans()), min_size=1, max_size=5)
WHERE = st.sampled_from(
    ["body.*.conv", "body.*.norm", "body.*.act", "body.*", "body.0", "**.conv", Unit, nn.Conv2d]
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(UNITS, WHERE, st.sampled_from(["standard", "pre"]), st.booleans(), st.integers(0, 10))
def test_in_and_out_again(units, where, placement, training, seed):
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


def test_names_globs_classes_functions_and_several_of_them():
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


def test_channels_and_stages_of_modules_that_do_not_say_them():
    (pool,) = sites(torchvision.models.resnet18(), where="maxpool")
    assert (pool.channels, pool.stage, pool.kind) == (64, 2, "torch.nn.modules.pooling.MaxPool2d")
    net = Net([(4, 1, True), (6, 2, True), (8, 2, True)])
    assert [(site.channels, site.stage) for site in sites(net, where=Unit)] == [(4, 1), (6, 2), (8, 3)]


def test_a_subclass_of_a_known_block_is_one():
    class Mine(torchvision.models.resnet.BasicBlock):
        pass

    model = torchvision.models.ResNet(Mine, [1, 1, 1, 1])
    assert paths(model) == [f"layer{n}.0.bn2" for n in range(1, 5)]
    assert sites(model)[0].kind.endswith("Mine")


def test_looking_leaves_no_trace():
    model = Net([(4, 1, True), (6, 2, False)])
    calls = []
    model.body[0].register_forward_hook(lambda *_: calls.append(1))
    had = copy.deepcopy(model.state_dict())
    sites(model, where="body.*")
    assert calls == []
    assert len(model.body[0]._forward_hooks) == 1
    assert model.training
    assert all(torch.equal(value, had[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ese", "eca", "scse", "cbam", "gct", "simam", "coordatt"])
def test_every_kind_of_attention_goes_in(name):
    model = torchvision.models.resnet18(num_classes=3).eval()
    gated = insert(model, name, stages=[4, 5])
    assert logits(gated, torch.randn(1, 3, 64, 64)).shape == (1, 3)
    (arguments,) = insertions(gated)
    assert arguments["attention"] == name
