"""Gradients of depthwise convolutions on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from excite.kernels.cpu import depthwise_loops
from excite.kernels.cpu.openmp import run, threads_for


def weight_gradient(dy: Tensor, x: Tensor, weight: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
    """The gradient of weight (C, 1, k, k).

    Args:
        dy: (N, C, H', W'), channels-last, float32 or bfloat16; the gradient of the output.
        x: (N, C, H, W), channels-last, as dy.
    """
    c, _, k, _ = weight.shape
    total = x.new_empty((len(x), k, k, c), dtype=torch.float32)
    arguments = [*_shape(dy, x, k, stride, padding), x.data_ptr(), dy.data_ptr(), total.data_ptr()]
    run(depthwise_loops.weight_gradient.address, arguments, numbers=x.numel())
    return total.sum(0).permute(2, 0, 1).unsqueeze(1).to(weight.dtype)


def input_gradient(dy: Tensor, x: Tensor, weight: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
    """The gradient of x (N, C, H, W), channels-last; arguments as for ``weight_gradient``."""
    c, _, k, _ = weight.shape
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    taps = weight.detach().float().squeeze(1).permute(1, 2, 0).contiguous()
    sums = x.new_empty((threads_for(x.numel()), c), dtype=torch.float32)
    addresses = [dy.data_ptr(), taps.data_ptr(), sums.data_ptr(), dx.data_ptr()]
    run(
        depthwise_loops.input_gradient.address,
        [*_shape(dy, x, k, stride, padding), *addresses],
        numbers=x.numel(),
    )
    return dx


def _shape(dy: Tensor, x: Tensor, k: int, stride: int, padding: tuple[int, int]) -> list[int]:
    n, c, h, w = x.shape
    return [int(x.dtype == torch.bfloat16), n, h, w, c, *dy.shape[2:], k, stride, *padding]
