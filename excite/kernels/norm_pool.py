"""Batch norm, ReLU and 2x2 average pooling, without ever holding the rectified map as a whole.

A DenseNet's transition normalises, rectifies, convolves 1x1 and pools. Pooling and a 1x1 convolution commute,
so it may pool first, and the convolution has a quarter of the pixels. What is left in front of it is done
here a few images at a time, so that the rectified map goes from the pass that writes it to the one that pools
it through cache, and only x is kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.kernels.norm_gate import coefficients, gradients, pivot, takes
from excite.kernels.passes import rows
from excite.kernels.switch import passes_for

IN_CACHE = 1 << 21  # bytes of whole images at a time


def norm_pool(x: Tensor, norm: nn.BatchNorm2d) -> Tensor | None:
    """avg_pool2d(relu(norm(x)), 2): (N, C, H, W) -> (N, C, H // 2, W // 2); None where no kernel takes it."""
    does = passes_for(x, "pool")
    if does is None or not takes(norm, x) or min(x.shape[2:]) < 2:
        return None
    if not torch.is_grad_enabled():
        return _forward(x, norm, does, learns=False)[0]
    return _NormPool.apply(x, norm, does, norm.weight, norm.bias)


def _forward(
    x: Tensor, norm: nn.BatchNorm2d, does: ModuleType, learns: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The output, and the numbers that the backward pass starts from: k, the sums, a and b."""
    batch = norm.training
    k = pivot(rows(x), norm, batch)
    sums = does.sums(rows(x), k) if batch else k.new_zeros(2, 1, len(k))
    with torch.set_grad_enabled(learns), torch.autocast(x.device.type, enabled=False):
        sums.requires_grad_(learns)
        a, b = coefficients(sums, k, rows(x).shape[1], norm, None, batch)
    pooled = []
    for piece in _pieces(x):
        active = torch.empty_like(piece)
        does.scale(rows(piece), a, b, None, True, rows(active))
        pooled.append(F.avg_pool2d(active, 2))
    return torch.cat(pooled), (k, sums, a, b)


class _NormPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, norm: nn.BatchNorm2d, does: ModuleType, weight: Tensor, bias: Tensor
    ) -> Tensor:
        out, numbers = _forward(x, norm, does, learns=True)
        ctx.save_for_backward(x, *numbers, weight, bias)
        ctx.does = does
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, k, sums, a, b, *parameters = ctx.saved_tensors
        does, dy = ctx.does, dy / 4
        pairs = list(zip(_pieces(x), dy.split(len(next(_pieces(x)))), strict=True))
        both = torch.cat([
            does.gradient_sums(rows(_spread(piece, like)), rows(like), k, a, b) for like, piece in pairs
        ], dim=1)  # fmt: skip
        p, q, d_parameters = gradients(both, k, sums, a, b, parameters)
        if not ctx.needs_input_grad[0]:
            return None, None, None, *d_parameters
        dx = torch.empty_like(x)
        for (like, piece), out in zip(pairs, _pieces(dx), strict=True):
            does.gradient(rows(_spread(piece, like)), rows(like), a, b, p, q, relu=True, out=rows(out))
        return dx, None, None, *d_parameters


def _pieces(x: Tensor) -> Iterator[Tensor]:
    """The images, as many at a time as stay in cache; on a GPU all."""
    many = max(1, IN_CACHE // (x[0].numel() * x.itemsize)) if x.device.type == "cpu" else len(x)
    yield from x.split(many)


def _spread(dy: Tensor, like: Tensor) -> Tensor:
    """Each number at the four places that it is the mean of: (N, C, h, w) -> (N, C, H, W); else zeros."""
    n, c, h, w = dy.shape
    out = torch.empty_like(like)
    out[:, :, 2 * h :] = 0
    out[:, :, :, 2 * w :] = 0
    corners = out[:, :, : 2 * h, : 2 * w].unflatten(3, (w, 2)).unflatten(2, (h, 2))
    corners.copy_(dy[:, :, :, None, :, None].expand(n, c, h, 2, w, 2))
    return out
