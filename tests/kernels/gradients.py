"""The results of a forward and a backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

MODES = ("on", "plain")


def last(*size: int) -> Tensor:
    return torch.randn(*size).contiguous(memory_format=torch.channels_last)


def norm_of(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    norm.running_var.uniform_(0.5, 2)
    return norm


def gradients(run: Callable[[], Tensor], leaves: list[Tensor]) -> list[Tensor]:
    """The output and the gradients of its product with fixed numbers."""
    out = run()
    weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).sin().view(out.shape)
    found = torch.autograd.grad((out.double() * weights).sum(), leaves)
    return [out.detach(), *found]
