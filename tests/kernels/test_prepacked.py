"""Prepacked weights give the results of PyTorch's operators."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from excite.kernels.prepacked import (
    NO_ACTIVATION,
    RELU,
    Activation,
    PrepackedConv,
    PrepackedLinear,
    clipped_relu,
)

ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2**-7}
DTYPES = st.sampled_from(list(ROUNDING))
AFTER = st.sampled_from([NO_ACTIVATION, RELU, clipped_relu(0.5)])


def curve(after: Activation, y: torch.Tensor) -> torch.Tensor:
    name, limits = after
    if name == "none":
        return y
    return y.relu() if name == "relu" else y.clamp(*limits)


def same(found: torch.Tensor, exact: torch.Tensor) -> None:
    largest = max(1.0, float(exact.abs().max()))
    assert (found.double() - exact).abs().max() <= 4 * ROUNDING[found.dtype] * largest


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 3),
    groups=st.sampled_from([1, 2, 4]),
    each=st.integers(1, 9),
    out=st.integers(1, 9),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    size=st.integers(5, 12),
    bias=st.booleans(),
    dtype=DTYPES,
    after=AFTER,
    seed=st.integers(0, 2**16),
)
def test_a_convolution(  # noqa: PLR0913 - drawn by hypothesis
    n: int, groups: int, each: int, out: int, kernel: int, stride: int, padding: int, dilation: int,
    size: int, bias: bool, dtype: torch.dtype, after: Activation, seed: int,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    conv = nn.Conv2d(
        groups * each, groups * out, kernel, stride, padding, dilation, groups, bias
    ).requires_grad_(False)
    with torch.no_grad():  # numbers that bfloat16 holds, so that only sums are rounded
        for parameter in conv.parameters():
            parameter.copy_(parameter.bfloat16())
    ready = PrepackedConv(conv, after)
    for side in (size, size + 3):  # packed for the first, right for both
        x = torch.randn(n, groups * each, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
        u = copy.deepcopy(conv).double()(x.double())
        same(ready(x), curve(after, u))
        shortcut = torch.randn(u.shape).to(dtype).contiguous(memory_format=torch.channels_last)
        same(ready.add_relu(x, shortcut), (u + shortcut.double()).relu())


@settings(deadline=None, max_examples=60)
@given(
    m=st.integers(1, 70),
    c=st.integers(1, 70),
    j=st.integers(1, 40),
    bias=st.booleans(),
    dtype=DTYPES,
    after=AFTER,
)
def test_a_product(m: int, c: int, j: int, bias: bool, dtype: torch.dtype, after: Activation) -> None:
    w, b = (
        (torch.randn(j, c) / c**0.5).bfloat16().float(),
        torch.randn(j).bfloat16().float() if bias else None,
    )
    ready = PrepackedLinear(w, b, after)
    for many in (m, m + 1):
        x = torch.randn(many, c).to(dtype)
        same(ready(x), curve(after, F.linear(x.double(), w.double(), None if b is None else b.double())))


@pytest.mark.parametrize("packed", [True, False])
def test_changed_weights_are_used_after_a_reset(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not packed:
        monkeypatch.setattr("excite.kernels.prepacked._packs", lambda _: False)
    conv = nn.Conv2d(3, 5, 3).requires_grad_(False)
    ready, x = PrepackedConv(conv), torch.randn(2, 3, 9, 9)
    ready(x)
    conv.weight.zero_()
    ready.reset_cache()
    torch.testing.assert_close(ready(x), conv(x))


def test_it_can_be_copied() -> None:
    ready, x = PrepackedConv(nn.Conv2d(3, 5, 3).requires_grad_(False), RELU), torch.randn(2, 3, 9, 9)
    expected = ready(x)
    torch.testing.assert_close(copy.deepcopy(ready)(x), expected)


def test_autocast_does_not_narrow_it() -> None:
    product = PrepackedLinear(torch.randn(4, 6), None)
    x = torch.randn(2, 6)
    with torch.autocast("cpu", torch.bfloat16):
        found = product(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, x @ product.weight.t())
