"""Depthwise convolution whose gradients are computed by loops of our own on a CPU.

Where the kernel is 5 x 5 or the stride is 2, PyTorch's gradients take 10 to 100 times as long as the forward
pass (``benchmarks/depthwise.py``): most of the time of training an EfficientNet on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from excite.kernels.dispatch import select_backend


def can_fuse_depthwise(x: Tensor, weight: Tensor) -> bool:
    """Whether ``depthwise_convolution`` takes x (N, C, H, W).

    It does on a CPU, in channels-last memory, where there are gradients to compute, and for maps that are
    large enough to make it faster.
    """
    if not torch.is_grad_enabled() or not (x.requires_grad or weight.requires_grad):
        return False
    backend = select_backend(x, "depthwise")
    if backend is None or backend.__name__ != "excite.kernels.cpu.passes":
        return False
    return torch.is_autocast_enabled("cpu") or x.dtype == weight.dtype


def depthwise_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int, padding: tuple[int, int]
) -> Tensor:
    """``F.conv2d`` of x (N, C, H, W) with weight (C, 1, k, k) and ``groups=C``, under autocast, too.

    Returns:
        (N, C, H', W').
    """
    if torch.is_autocast_enabled("cpu"):
        low = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(low), weight.to(low), None if bias is None else bias.to(low)
    y: Tensor = _Depthwise.apply(x, weight, bias, stride, padding)
    return y


class _Depthwise(torch.autograd.Function):
    """(N, C, H, W), (C, 1, k, k), (C,) -> (N, C, H', W')."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        from excite.kernels.cpu import depthwise

        x, weight = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = dweight = dbias = None
        if ctx.needs_input_grad[0]:
            if ctx.stride == 1:
                dx = _pytorch_gradients(dy, x, weight, ctx, (True, False, False))[0]
            else:
                dx = depthwise.input_gradient(dy, x, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            if weight.shape[-1] <= 3:
                dweight = _pytorch_gradients(dy, x, weight, ctx, (False, True, False))[1]
            else:
                dweight = depthwise.weight_gradient(dy, x, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[2]:
            dbias = dy.float().sum((0, 2, 3)).to(dy.dtype)
        return dx, dweight, dbias, None, None


def _pytorch_gradients(
    dy: Tensor, x: Tensor, weight: Tensor, ctx: Any, needed: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """PyTorch's own: fast for the input if the stride is 1, and for a weight of 3 x 3."""
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        *(
            dy,
            x,
            weight,
            None,
            (ctx.stride, ctx.stride),
            ctx.padding,
            (1, 1),
            False,
            (0, 0),
            len(weight),
            needed,
        )
    )
    return gradients
