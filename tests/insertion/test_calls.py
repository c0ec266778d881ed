"""Attention goes where the forward calls; networks are copied whatever they hold, or refused in one line."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import excite
from excite.errors import ExciteError


class Bypassed(nn.Module):
    """Uses a convolution's weight without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3)
        self.fc = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.conv2d(x, self.conv.weight, self.conv.bias).mean((2, 3)))


class Unused(nn.Module):
    def __init__(self, training_only: bool = False) -> None:
        super().__init__()
        self.conv, self.aux = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 1)
        self.fc, self.training_only = nn.Linear(32, 2), training_only

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.training_only and self.training:
            x = x + self.aux(x)
        return self.fc(x.mean((2, 3)))


class Shortened(torchvision.models.ResNet):
    """A ResNet whose last stage is never run."""

    def _forward_impl(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.cat([x, x], dim=1).mean((2, 3)))


@pytest.mark.parametrize(
    ("model", "where"),
    [(Bypassed(), "conv"), (Unused(), "aux"), (Unused(training_only=True), "aux")],
    ids=["weight read", "unused", "in training alone"],
)
def test_a_module_that_is_never_called_takes_no_attention(model: nn.Module, where: str) -> None:
    with pytest.raises(ExciteError, match="does not call this module"):
        excite.insert(model, "se", where=where)


def test_known_blocks_in_a_custom_network_are_checked_too() -> None:
    net = Shortened(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])
    with pytest.raises(ExciteError, match=r"layer4\.0.*does not call this module"):
        excite.insert(net, "se", where="layer4.*")
    gated = excite.insert(net, "se")
    assert [site.block for site in excite.sites(gated)] == ["layer1.0", "layer2.0", "layer3.0"]
    assert [site.path for site in excite.sites(gated, where="layer1.*")] == ["layer1.0.bn2"]


class Shared(nn.Module):
    """Calls one activation everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.act = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3), nn.ReLU()
        self.fc = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act(self.two(self.act(self.one(x)))).mean((2, 3)))


@pytest.mark.parametrize("placement", ["standard", "pre"])
@pytest.mark.parametrize(
    ("model", "where", "counts"),
    [(Shared(), "act", "8 and 16"), (torchvision.models.resnet50(), "layer1.0.relu", "64 and 256")],
    ids=["own", "resnet50"],
)
def test_a_module_with_several_widths_takes_no_attention(
    model: nn.Module, where: str, counts: str, placement: str
) -> None:
    with pytest.raises(ExciteError, match=f"more than once, with {counts} channels"):
        excite.insert(model, "se", where=where, placement=placement, reduction=4)


def test_a_module_whose_forward_was_set_on_it_takes_no_attention() -> None:
    net = Shared()
    net.two.forward = net.two.forward
    with pytest.raises(ExciteError, match="two: the forward of this Conv2d was replaced"):
        excite.insert(net, "se", where="two")


class Tupled(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def test_a_module_that_returns_a_tuple_takes_no_attention() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.pair, self.fc = nn.Conv2d(3, 32, 3), Tupled(), nn.Linear(32, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.pair(self.conv(x))[0].mean((2, 3)))

    with pytest.raises(ExciteError):
        excite.insert(Net(), "se", where="pair")


class Keywords(nn.Module):
    """Calls its layers with keywords."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32)
        self.fc = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(input=self.conv(input=x))
        return self.fc(input=x.mean((2, 3)))


@torch.no_grad()
@pytest.mark.parametrize(("where", "placement"), [("conv", "standard"), ("bn", "standard"), ("bn", "pre")])
def test_modules_may_be_called_with_keywords(where: str, placement: str) -> None:
    net, images = Keywords().eval(), torch.randn(2, 3, 20, 20)
    same = excite.insert(net, "se", where=where, placement=placement, identity=True)
    assert torch.equal(same(images), net(images))
    other = excite.insert(net, "se", where=where, placement=placement)
    assert not torch.allclose(other(images), net(images))


def test_lazy_layers_are_run_once_first() -> None:
    net = nn.Sequential(nn.LazyConv2d(16, 3), nn.ReLU())
    with pytest.raises(ExciteError, match="run the model once"):
        excite.insert(net, "se", where="0")
    net(torch.zeros(1, 3, 16, 16))
    assert len(excite.sites(excite.insert(net, "se", where="0"), where="0")) == 1
