"""Rivals of an explanation: maps that look at no class at all. A map that is no better explains nothing."""

from __future__ import annotations

import zlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.insertion.copying import deep_copy
from excite.models.head import head_path

RIVALS = ("random", "middle", "edges")


def rival_maps(images: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
    """Maps (N, h, w) without a network: random values, nearness to the middle, and strength of edges.

    Args:
        images: (N, 3, S, S).
        grid: (h, w) of the maps.
    """
    return {
        "random": random_maps(images, grid),
        "middle": middle_map(grid).expand(len(images), -1, -1),
        "edges": edge_maps(images, grid),
    }


def random_maps(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """Normal random values (N, h, w) that depend on nothing but the pixels of each image."""
    seeds = [zlib.crc32(image.contiguous().float().cpu().numpy().tobytes()) for image in images]
    return torch.stack(
        [
            torch.from_numpy(np.random.default_rng(seed).standard_normal(grid, dtype=np.float32))
            for seed in seeds
        ]
    )


def middle_map(grid: tuple[int, int]) -> Tensor:
    """Minus the squared distance from the middle (h, w), in units of half a side.

    >>> middle_map((1, 3))
    tensor([[-0.4444, -0.0000, -0.4444]])
    """
    rows, columns = ((torch.arange(n) + 0.5) / n * 2 - 1 for n in grid)
    return -(rows[:, None].square() + columns.square())


def edge_maps(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """The mean magnitude of the Sobel gradient of the gray image within each cell: (N, h, w)."""
    gray = images.float().mean(dim=1, keepdim=True)
    kernel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    kernels = torch.stack([kernel, kernel.T])[:, None]
    slopes = F.conv2d(F.pad(gray, (1, 1, 1, 1), mode="replicate"), kernels)
    magnitude = slopes.square().sum(dim=1, keepdim=True).sqrt()
    return F.adaptive_avg_pool2d(magnitude, grid)[:, 0]


def with_random_head(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of the network whose last layer has normal random weights with the same standard deviation.

    A map that is about the class differs from that of this network (Adebayo et al. 2018,
    https://arxiv.org/abs/1810.03292).
    """
    copy = deep_copy(model)
    randomize(copy.get_submodule(head_path(copy)), seed)
    return copy


@torch.no_grad()
def randomize(module: nn.Module, seed: int) -> None:
    """Replace all weights, in place, by normal random values of the same mean and standard deviation.

    Buffers, such as the running statistics of a batch norm, stay.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        values = parameter.float()
        spread = float(values.std()) if values.numel() > 1 else 0.0
        drawn = torch.randn(parameter.shape, generator=generator) * spread + float(values.mean())
        parameter.copy_(drawn)
