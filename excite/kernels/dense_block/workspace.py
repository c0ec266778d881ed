"""Helpers of dense blocks: norm coefficients, statistics of blocks of rows, buffers that fit in the cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from excite.kernels.norm_gate import update_running

# Normalized rows between the pass that writes and the product that reads them, so that they stay in the cache
# shared by all cores. Smaller blocks, for the cache of each core, need more calls than they save: with 2 MB,
# a training step of DenseNet-121 takes 6 to 8 % longer, and inference on 32 images 14 to 16 %.
CACHE_BYTES = 1 << 23


class Norm(NamedTuple):
    """The coefficients of a norm, (1, C): x^ = (x - mean) scale, and gamma x^ + beta = a x + b."""

    mean: Tensor
    scale: Tensor
    a: Tensor
    b: Tensor

    def gradients(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """(dgamma, dbeta), (1, C), from the sums of g and of g (x - mean), (2, 1, C)."""
        return sums[1] * self.scale, sums[0]

    def through_statistics(self, gamma: Tensor, beta: Tensor, count: int) -> Tensor:
        """p and q, (2, 1, C), of p + q x, the gradient of x through its mean and variance over all rows.

        Args:
            gamma, beta: gradients of gamma and beta.
            count: rows; 0 for fixed statistics, whose gradient is zero.
        """
        if not count:
            return gamma.new_zeros(2, *gamma.shape)
        by = self.a * (-1 / count)
        q = by * self.scale * gamma
        return torch.stack([torch.addcmul(by * beta, q, self.mean, value=-1), q])


def norm_coefficients(norm: nn.BatchNorm2d, statistics: Tensor | None, count: int) -> Norm:
    """The coefficients of a norm from the statistics of a batch, (2, 1, C), which update the running ones;
    in evaluation mode, or without statistics, from the running ones."""
    if norm.training and statistics is not None:
        mean, variance = statistics
        update_running(norm, mean[0], variance[0], count)
    else:
        mean, variance = norm.running_mean[None], norm.running_var[None]  # type: ignore[index]
    scale = torch.rsqrt(variance + norm.eps)
    a = norm.weight * scale
    return Norm(mean, scale, a, norm.bias - mean * a)


class ChannelStatistics:
    """Mean and variance of channels over blocks of rows (1, P, C)."""

    def __init__(self, backend: ModuleType) -> None:
        self.backend, self.count = backend, 0
        self.k: Tensor | None = None
        self.sums: list[Tensor] = []

    def __call__(self, rows: Tensor) -> None:
        if self.k is None:
            self.k = rows[0, 0].float()
        self.sums.append(self.backend.sums(rows, self.k))
        self.count += rows.shape[1]

    def moments(self) -> Tensor:
        """Mean and variance, (2, 1, C)."""
        assert self.k is not None
        return moments(
            self.sums[0] if len(self.sums) == 1 else torch.stack(self.sums).sum(0), self.k, self.count
        )


def moments(sums: Tensor, k: Tensor, count: int) -> Tensor:
    """Mean and variance, (2, 1, C), from the sums (2, 1, C) of x - k and its square over ``count`` rows."""
    mean, square = sums / count
    return torch.stack([mean + k, (square - mean.square()).clamp_(min=0)])


def flat(x: Tensor) -> Tensor:
    """(N, C, H, W) in channels-last memory, or some of its channels -> (1, N x H x W, C), the same memory."""
    n, c, h, w = x.shape
    return x.as_strided((1, n * h * w, c), (0, x.stride(3), 1))


class Workspace:
    """Buffers for the rows of a few images between two operators; on a GPU, of all images."""

    def __init__(self, maps: Tensor) -> None:
        self.maps, self.size = maps, maps.shape[2:]
        self.pixels = self.size.numel()
        self.buffers: list[Tensor] = []

    def rows_in_cache(self, c: int, rows: int = 0) -> int:
        """The number of rows of c channels that fit in the cache, if ``rows`` or all are cut evenly."""
        rows = rows or len(self.maps) * self.pixels
        if self.maps.device.type != "cpu":
            return rows
        most = max(1, CACHE_BYTES // (c * self.maps.itemsize))
        return -(-rows // -(-rows // most))

    def images(self, c: int) -> int:
        """The number of images of c channels that fit in the cache, at least one."""
        return max(1, self.rows_in_cache(c) // self.pixels)

    def like(self, x: Tensor, count: int, after: int = 0) -> list[Tensor]:
        """``count`` buffers in the shape of rows (1, P, c), after the first ``after``, which are in use."""
        return [self._buffer(i, x.shape[1:])[None] for i in range(after, after + count)]

    def _buffer(self, number: int, shape: Sequence[int]) -> Tensor:
        size = math.prod(shape)
        if number == len(self.buffers):
            self.buffers.append(self.maps.new_empty(size))
        elif self.buffers[number].numel() < size:
            self.buffers[number] = self.maps.new_empty(size)
        return self.buffers[number][:size].view(shape)

    def image(self, x: Tensor) -> Tensor:
        """Rows of whole images (1, n x H x W, C) -> (n, C, H, W), the same memory."""
        return x[0].unflatten(0, (-1, *self.size)).permute(0, 3, 1, 2)


def is_convolution(layer: nn.Module, size: int) -> bool:
    """Whether it is ``nn.Conv2d`` itself, with this kernel size, and keeps the size of a map."""
    return type(layer) is nn.Conv2d and (
        layer.kernel_size == (size, size)
        and layer.padding == (size // 2, size // 2)
        and layer.stride == layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
    )
