"""Factors folded into weights: the layer computes what a multiplication beside it would."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from excite.insertion.weight_scaling import scale_input, scale_output, scale_output_before

LAYERS = [
    lambda: nn.Conv2d(4, 6, 3),
    lambda: nn.Conv2d(4, 6, 3, groups=2, bias=False),
    lambda: nn.BatchNorm2d(4),
]


def prepared(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.running_mean)
        nn.init.uniform_(layer.running_var, 0.5, 2)
        nn.init.normal_(layer.bias)
    return layer.eval()


@pytest.mark.parametrize("make", LAYERS)
@torch.no_grad()
def test_factors_on_the_output(make: object) -> None:
    layer, x = prepared(make()), torch.randn(2, 4, 8, 8)
    gate = torch.randn(layer(x).shape[1])
    expected = gate.view(1, -1, 1, 1) * layer(x)
    assert scale_output(layer, gate)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("make", LAYERS)
@torch.no_grad()
def test_factors_on_the_input(make: object) -> None:
    layer, x = prepared(make()), torch.randn(2, 4, 8, 8)
    gate = torch.randn(4)
    padded = layer(gate.view(1, -1, 1, 1) * x)
    assert scale_input(layer, gate)
    torch.testing.assert_close(layer(x), padded)


@torch.no_grad()
def test_only_positive_factors_pass_a_relu() -> None:
    sequence = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Identity())
    x, gate = torch.randn(2, 3, 4, 4), torch.rand(4)
    expected = gate.view(1, -1, 1, 1) * sequence(x)
    assert not scale_output_before(sequence, "2", -gate)
    assert scale_output_before(sequence, "2", gate)
    torch.testing.assert_close(sequence(x), expected)


def test_a_subclass_is_refused() -> None:
    class Own(nn.Conv2d):
        pass

    assert not scale_output(Own(3, 4, 1), torch.ones(4))
    assert not scale_input(Own(3, 4, 1), torch.ones(3))
