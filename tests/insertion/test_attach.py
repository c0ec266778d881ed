"""Parametrized layers carry attention, and keep their parametrizations when it is taken out again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import excite
from excite.errors import ExciteError
from excite.insertion.insert import convert

PARAMETRIZATIONS = (parametrizations.weight_norm, parametrizations.spectral_norm)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())


def attended(net: nn.Module) -> nn.Module:
    return excite.insert(net, "se", where="0", reduction=4)


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_a_parametrization_outlives_attention(
    first: bool, parametrization: Callable[[nn.Module], nn.Module]
) -> None:
    net, images = network().eval(), torch.randn(2, 3, 8, 8)
    if first:
        parametrization(net[0])
    gated = attended(net)
    if not first:
        parametrization(gated[0])
    names = {name for name in gated.state_dict() if "attention" not in name}
    plain = excite.remove(gated)
    assert parametrize.is_parametrized(plain[0], "weight")
    assert set(plain.state_dict()) == names
    assert type(plain[0]).__name__ == "ParametrizedConv2d"
    weight = gated[0].weight
    torch.testing.assert_close(plain[0].weight, weight)
    plain(images).sum().backward()
    assert all(parameter.grad is not None for parameter in plain.parameters())
    maps = torch.conv2d(images, weight, gated[0].bias, padding=1)
    torch.testing.assert_close(gated(images), gated[0].attention(maps).relu())


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_attention_outlives_a_parametrization(first: bool) -> None:
    net, images = network().eval(), torch.randn(2, 3, 8, 8)
    if first:
        parametrizations.weight_norm(net[0])
    gated = attended(net)
    if not first:
        parametrizations.weight_norm(gated[0])
    expected = gated(images)
    parametrizations.weight_norm(gated[0], "bias", dim=None)
    parametrize.remove_parametrizations(gated[0], "bias")
    parametrize.remove_parametrizations(gated[0], "weight")
    torch.testing.assert_close(gated(images), expected)
    plain = excite.remove(gated)
    assert type(plain[0]) is nn.Conv2d
    net(images)  # whose class is its own


def test_conversions_keep_both() -> None:
    gated, images = attended(network()).eval(), torch.randn(2, 3, 8, 8)
    parametrizations.weight_norm(gated[0])
    expected = gated(images)
    torch.testing.assert_close(convert(gated, lambda model: model)(images), expected)
    assert parametrize.is_parametrized(gated[0], "weight")


def test_another_class_on_top_is_refused() -> None:
    gated = attended(network())
    gated[0].__class__ = type("Other", (type(gated[0]),), {})
    with pytest.raises(ExciteError, match=r"^0: the class was changed to Other"):
        excite.remove(gated)
