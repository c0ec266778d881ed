"""Gradients of depthwise convolutions, against PyTorch's in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from excite.kernels.depthwise import can_fuse_depthwise, depthwise_convolution
from excite.kernels.dispatch import use_kernels

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}


def gradients(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, stride: int, padding: int, dtype: torch.dtype
) -> list[torch.Tensor]:
    """Gradients of x, weight, and bias in float64 from rounded numbers."""
    inputs = [each.to(dtype).double().requires_grad_() for each in (x, weight, bias)]
    y = F.conv2d(*inputs, stride, padding, groups=len(weight))
    torch.manual_seed(1)
    y.backward(torch.randn(y.shape).to(dtype).double())
    return [each.grad for each in inputs if each.grad is not None]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(2, 40), st.integers(1, 14), st.integers(1, 14)),
    kernel=st.sampled_from([2, 3, 4, 5, 7]),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_gradients_are_those_of_pytorch_in_double_precision(
    shape: tuple[int, int, int, int], kernel: int, stride: int, padding: int, dtype: torch.dtype
) -> None:
    if min(shape[2:]) + 2 * padding < kernel:
        return  # there is no output
    torch.manual_seed(0)
    x, weight = torch.randn(shape), torch.randn(shape[1], 1, kernel, kernel)
    bias = torch.randn(shape[1])
    expected = gradients(x, weight, bias, stride, padding, dtype)
    inputs = [
        x.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_(),
        weight.to(dtype).requires_grad_(),
        bias.to(dtype).requires_grad_(),
    ]
    y = depthwise_convolution(*inputs, stride=stride, padding=(padding, padding))
    torch.manual_seed(1)
    y.backward(torch.randn(y.shape).to(dtype))
    for found, truth in zip(inputs, expected, strict=True):
        assert found.grad is not None
        assert found.grad.dtype == dtype
        error = (found.grad.double() - truth).abs().max()
        assert error <= TOLERANCE[dtype] * truth.abs().max().clamp(min=1)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_number_of_threads_changes_no_bit(stride: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 48, 32, 32).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(48, 1, 5, 5)
    found = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            inputs = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
            y = depthwise_convolution(*inputs, None, stride=stride, padding=(2, 2))
            y.backward(torch.linspace(-1, 1, y.numel()).view_as(y))
            found.append([each.grad for each in inputs])
    finally:
        torch.set_num_threads(threads)
    for dx, dweight in found[1:]:
        assert torch.equal(dweight, found[0][1])
        assert torch.equal(dx, found[0][0]) or stride == 1  # with stride 1 it is PyTorch's


def test_it_is_used_for_training_on_a_cpu_only() -> None:
    x = torch.randn(2, 32, 64, 64).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(32, 1, 5, 5, requires_grad=True)
    small = x[:, :, :4, :4].contiguous(memory_format=torch.channels_last)
    with use_kernels("auto"):
        assert can_fuse_depthwise(x, weight)
        assert not can_fuse_depthwise(small, weight)
    assert not can_fuse_depthwise(x.contiguous(), weight)
    assert not can_fuse_depthwise(x.double(), weight)
    assert not can_fuse_depthwise(x, weight.detach())
    with torch.no_grad():
        assert not can_fuse_depthwise(x, weight)
    with use_kernels("off"):
        assert not can_fuse_depthwise(x, weight)
