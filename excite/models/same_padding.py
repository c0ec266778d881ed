"""Convolutions that pad as TensorFlow's ``SAME``: the output has ceil(size / stride) pixels per side."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SameConv2d(nn.Conv2d):
    """A convolution with stride that pads one pixel more at the right and the bottom if the sum is odd."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))."""
        return super().forward(pad_same(x, self.kernel_size, self.stride))


def pad_same(x: Tensor, kernel_size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """x (N, C, H, W) padded with zeros as TensorFlow pads it for a convolution without dilation.

    >>> import torch
    >>> pad_same(torch.ones(1, 1, 4, 5), (3, 3), (2, 2)).shape
    torch.Size([1, 1, 5, 7])
    """
    padding: list[int] = []
    for size, kernel, step in zip(x.shape[:1:-1], kernel_size[::-1], stride[::-1], strict=True):
        total = max((-(-size // step) - 1) * step + kernel - size, 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding)
