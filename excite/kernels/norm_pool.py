"""Batch norm, ReLU and pooling, without ever holding the rectified map as a whole.

A DenseNet's transition normalizes, rectifies, convolves 1x1 and averages 2x2. Pooling and a 1x1 convolution
commute, so it may pool first, and the convolution has a quarter of the pixels. What is left in front of it,
and the stem's norm, ReLU and max pooling, are done here a few images at a time, so that the rectified map
goes from the pass that writes it to the one that pools it through cache, and only x is kept for the backward
pass: neither what is pooled nor where the largest were, which are found again.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from excite.kernels.dispatch import select_backend
from excite.kernels.norm_gate import coefficients, gradients, pivot, supports
from excite.kernels.reference import rows

CACHE_BYTES = 1 << 21  # bytes of whole images at a time
Pool = nn.AvgPool2d | nn.MaxPool2d


def norm_pool(x: Tensor, norm: nn.BatchNorm2d, pool: nn.Module) -> Tensor | None:
    """pool(relu(norm(x))): (N, C, H, W) -> (N, C, h, w); None where no kernel takes it.

    Args:
        pool: the average of 2x2, or the maximum of any window without dilation.
    """
    backend = select_backend(x, "pool")
    if backend is None or not supports(norm, x) or not _pools(pool) or min(x.shape[2:]) < 2:
        return None
    if not torch.is_grad_enabled():
        return _forward(x, norm, pool, backend, learns=False)[0]
    return _NormPool.apply(x, norm, pool, backend, norm.weight, norm.bias)


def _pools(pool: nn.Module) -> TypeGuard[Pool]:
    if type(pool) is nn.AvgPool2d:
        plain = not (pool.ceil_mode or pool.divisor_override)
        return plain and (pool.kernel_size, pool.stride, pool.padding) == (2, 2, 0)
    return type(pool) is nn.MaxPool2d and pool.dilation == 1 and not (pool.ceil_mode or pool.return_indices)


def _forward(
    x: Tensor, norm: nn.BatchNorm2d, pool: Pool, backend: ModuleType, learns: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The output, and the numbers that the backward pass starts from: k, the sums, a and b."""
    batch = norm.training
    k = pivot(rows(x), norm, batch)
    sums = backend.sums(rows(x), k) if batch else k.new_zeros(2, 1, len(k))
    with torch.set_grad_enabled(learns), torch.autocast(x.device.type, enabled=False):
        sums.requires_grad_(learns)
        a, b = coefficients(sums, k, rows(x).shape[1], norm, None, batch)
    pooled = [pool(_active(piece, a, b, backend)) for piece in _pieces(x)]
    return torch.cat(pooled), (k, sums, a, b)


def _active(x: Tensor, a: Tensor, b: Tensor, backend: ModuleType) -> Tensor:
    out = torch.empty_like(x)
    backend.scale(rows(x), a, b, None, True, rows(out))
    return out


class _NormPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm: nn.BatchNorm2d,
        pool: Pool,
        backend: ModuleType,
        weight: Tensor,
        bias: Tensor,
    ) -> Tensor:
        out, numbers = _forward(x, norm, pool, backend, learns=True)
        ctx.save_for_backward(x, *numbers, weight, bias)
        ctx.pool, ctx.backend = pool, backend
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, k, sums, a, b, *parameters = ctx.saved_tensors
        backend, dx = ctx.backend, None
        pieces = list(_pieces(x))
        d_active = [
            _pool_backward(d_piece, piece, a, b, ctx.pool, backend)
            for piece, d_piece in zip(pieces, dy.split(len(pieces[0])), strict=True)
        ]
        both = torch.cat([
            backend.gradient_sums(rows(d_piece), rows(piece), k, a, b)
            for piece, d_piece in zip(pieces, d_active, strict=True)
        ], dim=1)  # fmt: skip
        p, q, d_parameters = gradients(both, k, sums, a, b, parameters)
        p, q = p[:1], q[:1]  # without a gate all images have the same
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            for piece, d_piece, out in zip(pieces, d_active, _pieces(dx), strict=True):
                backend.gradient(rows(d_piece), rows(piece), a, b, p, q, relu=True, out=rows(out))
        return dx, None, None, None, *d_parameters


def _pool_backward(dy: Tensor, x: Tensor, a: Tensor, b: Tensor, pool: Pool, backend: ModuleType) -> Tensor:
    """The gradient of what was pooled, of x's shape and memory."""
    if isinstance(pool, nn.AvgPool2d):
        return _spread(dy / 4, x)
    active = _active(x, a, b, backend)
    window = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    size = [[one, one] if isinstance(one, int) else list(one) for one in window]
    _, indices = torch.ops.aten.max_pool2d_with_indices(active, *size, False)
    given = (dy.contiguous(memory_format=torch.channels_last), active, *size, False, indices)
    found: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(*given)
    return found


def _pieces(x: Tensor) -> Iterator[Tensor]:
    """The images, as many at a time as stay in cache; on a GPU all."""
    many = max(1, CACHE_BYTES // (x[0].numel() * x.itemsize)) if x.device.type == "cpu" else len(x)
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
