"""Norm, ReLU, and pooling in one operator equal the modules in sequence."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from excite.kernels.dispatch import use_kernels
from excite.kernels.norm_pool import norm_pool
from tests.kernels.gradients import MODES, gradients, last, norm_of

POOLS = {
    "average": (nn.AvgPool2d(2), [(4, 16, 6, 6), (3, 16, 7, 5), (1, 16, 2, 2)]),
    "largest": (nn.MaxPool2d(3, 2, 1), [(4, 16, 6, 6), (3, 16, 7, 5), (1, 16, 2, 2), (2, 8, 200, 200)]),
    "largest, wide": (nn.MaxPool2d((2, 3), (1, 2)), [(4, 16, 6, 6), (3, 16, 7, 5)]),
}


@pytest.mark.parametrize("choice", MODES)
@pytest.mark.parametrize(("kind", "size"), [(kind, size) for kind in POOLS for size in POOLS[kind][1]])
def test_norm_and_pooling(choice: str, kind: str, size: tuple[int, int, int, int]) -> None:
    pool, _ = POOLS[kind]
    norm, x = norm_of(size[1]), last(*size).requires_grad_()
    exact, reference = copy.deepcopy(norm).double(), x.detach().double().requires_grad_()
    with use_kernels(choice):
        assert norm_pool(x, copy.deepcopy(norm), pool) is not None
        found = gradients(lambda: norm_pool(x, norm, pool), [x, *norm.parameters()])
    expected = gradients(lambda: pool(F.relu(exact(reference))), [reference, *exact.parameters()])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(
            one.double(), other, rtol=1e-4, atol=1e-4 * max(1, float(other.abs().max()))
        )


@pytest.mark.parametrize(
    "pool",
    [nn.AvgPool2d(3), nn.AvgPool2d(2, ceil_mode=True), nn.MaxPool2d(3, dilation=2), nn.LPPool2d(2, 2),
     nn.MaxPool2d(2, return_indices=True)],
)  # fmt: skip
def test_other_poolings_are_left_to_their_modules(pool: nn.Module) -> None:
    with use_kernels("on"):
        assert norm_pool(last(2, 8, 9, 9), norm_of(8), pool) is None
