"""What a dense block is computed with: a norm's numbers, statistics in pieces, room that stays in cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from excite.kernels.norm_gate import update_running

# Bytes of normalized rows between the pass that writes and the product that reads them, so that they stay in
# the cache that cores share. Smaller pieces, for the caches of each, cost more calls than they save: with
# 2 MB a step of DenseNet-121 takes 6 to 8 % longer, and its answer to 32 images 14 to 16 %.
CACHE_BYTES = 1 << 23


class Norm(NamedTuple):
    """A norm's numbers, (1, C): x^ = (x - mean) scale, and gamma x^ + beta = a x + b."""

    mean: Tensor
    scale: Tensor
    a: Tensor
    b: Tensor

    def gradients(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """(dgamma, dbeta), (1, C), from the sums of g and of g (x - mean), (2, 1, C)."""
        return sums[1] * self.scale, sums[0]

    def through_statistics(self, gamma: Tensor, beta: Tensor, count: int) -> Tensor:
        """(p, q), (2, 1, C), of the part p + q x of dx that comes through mean and variance of ``count``
        rows; zeros for 0 rows: the statistics are given. From dgamma and dbeta."""
        if not count:
            return gamma.new_zeros(2, *gamma.shape)
        by = self.a * (-1 / count)
        q = by * self.scale * gamma
        return torch.stack([torch.addcmul(by * beta, q, self.mean, value=-1), q])


def norm_coefficients(norm: nn.BatchNorm2d, statistics: Tensor | None, count: int) -> Norm:
    """A norm's numbers for these statistics (2, 1, C), which its running ones learn of; or for those."""
    if norm.training and statistics is not None:
        mean, variance = statistics
        update_running(norm, mean[0], variance[0], count)
    else:
        mean, variance = norm.running_mean[None], norm.running_var[None]  # type: ignore[index]
    scale = torch.rsqrt(variance + norm.eps)
    a = norm.weight * scale
    return Norm(mean, scale, a, norm.bias - mean * a)


class ChannelStatistics:
    """Mean and variance of channels from pieces of rows (1, P, C)."""

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
        """(2, 1, C)."""
        assert self.k is not None
        return moments(
            self.sums[0] if len(self.sums) == 1 else torch.stack(self.sums).sum(0), self.k, self.count
        )


def moments(sums: Tensor, k: Tensor, count: int) -> Tensor:
    """Mean and variance of ``count`` rows, (2, 1, C), from the sums of x - k and of its square, (2, 1, C)."""
    mean, square = sums / count
    return torch.stack([mean + k, (square - mean.square()).clamp_(min=0)])


def flat(x: Tensor) -> Tensor:
    """(N, C, H, W), in channels-last memory or some channels of it -> (1, N x H x W, C), the same memory."""
    n, c, h, w = x.shape
    return x.as_strided((1, n * h * w, c), (0, x.stride(3), 1))


class Workspace:
    """Room for rows of a few images on their way from one operator to the next; on a GPU for all rows."""

    def __init__(self, maps: Tensor) -> None:
        self.maps, self.size = maps, maps.shape[2:]
        self.pixels = self.size.numel()
        self.memory: list[Tensor] = []

    def rows_in_cache(self, c: int, rows: int = 0) -> int:
        """How many rows of c channels fit, in even pieces of so many rows, or of all that there are."""
        rows = rows or len(self.maps) * self.pixels
        if self.maps.device.type != "cpu":
            return rows
        many = max(1, CACHE_BYTES // (c * self.maps.itemsize))
        return -(-rows // -(-rows // many))

    def images(self, c: int) -> int:
        """How many images of c channels fit, at least one."""
        return max(1, self.rows_in_cache(c) // self.pixels)

    def like(self, x: Tensor, count: int, after: int = 0) -> list[Tensor]:
        """``count`` matrices of the shape of some rows (1, P, c), after so many that are in use."""
        return [self.room(i, x.shape[1:])[None] for i in range(after, after + count)]

    def room(self, number: int, shape: Sequence[int]) -> Tensor:
        """The matrix of that number and shape."""
        size = math.prod(shape)
        if number == len(self.memory):
            self.memory.append(self.maps.new_empty(size))
        elif self.memory[number].numel() < size:
            self.memory[number] = self.maps.new_empty(size)
        return self.memory[number][:size].view(shape)

    def image(self, x: Tensor) -> Tensor:
        """Rows of whole images (1, n x H x W, C) -> (n, C, H, W), the same memory."""
        return x[0].unflatten(0, (-1, *self.size)).permute(0, 3, 1, 2)


def is_convolution(layer: nn.Module, size: int) -> bool:
    """Whether it is ``nn.Conv2d`` itself, of this size, that keeps the size of a map."""
    return type(layer) is nn.Conv2d and (
        layer.kernel_size == (size, size)
        and layer.padding == (size // 2, size // 2)
        and layer.stride == layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
    )
