"""Batch norm, ReLU, and pooling, without a full-size activation map in memory.

A DenseNet's transition is norm, ReLU, 1x1 convolution, and 2x2 average pooling. Pooling and a 1x1 convolution
commute, so pooling can come first, and the convolution has a quarter of the pixels. The layers before it, and
the stem's norm, ReLU, and max pooling, run here for a few images at a time: the activation map stays in the
cache between the pass that writes it and the one that pools it. Only x is saved for the backward pass, which
recomputes the activations and the positions of the maxima.
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

CACHE_BYTES = 1 << 21  # of the images processed at a time
Pool = nn.AvgPool2d | nn.MaxPool2d


def norm_pool(x: Tensor, norm: nn.BatchNorm2d, pool: nn.Module) -> Tensor | None:
    """pool(relu(norm(x))): (N, C, H, W) -> (N, C, h, w); None if no kernel takes x.

    Args:
        pool: 2x2 average pooling, or max pooling without dilation.
    """
    backend = select_backend(x, "pool")
    if backend is None or not supports(norm, x) or not _can_pool(pool) or min(x.shape[2:]) < 2:
        return None
    if not torch.is_grad_enabled():
        return _forward(x, norm, pool, backend, needs_gradient=False)[0]
    return _NormPool.apply(x, norm, pool, backend, norm.weight, norm.bias)


def _can_pool(pool: nn.Module) -> TypeGuard[Pool]:
    if type(pool) is nn.AvgPool2d:
        plain = not (pool.ceil_mode or pool.divisor_override)
        return plain and (pool.kernel_size, pool.stride, pool.padding) == (2, 2, 0)
    return type(pool) is nn.MaxPool2d and pool.dilation == 1 and not (pool.ceil_mode or pool.return_indices)


def _forward(
    x: Tensor, norm: nn.BatchNorm2d, pool: Pool, backend: ModuleType, needs_gradient: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The output, and what the backward pass needs: k, the sums, a, and b."""
    batch = norm.training
    k = pivot(rows(x), norm, batch)
    sums = backend.sums(rows(x), k) if batch else k.new_zeros(2, 1, len(k))
    with torch.set_grad_enabled(needs_gradient), torch.autocast(x.device.type, enabled=False):
        sums.requires_grad_(needs_gradient)
        a, b = coefficients(sums, k, rows(x).shape[1], norm, None, batch)
    pooled = [pool(_activations(block, a, b, backend)) for block in _image_blocks(x)]
    return torch.cat(pooled), (k, sums, a, b)


def _activations(x: Tensor, a: Tensor, b: Tensor, backend: ModuleType) -> Tensor:
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
        out, intermediates = _forward(x, norm, pool, backend, needs_gradient=True)
        ctx.save_for_backward(x, *intermediates, weight, bias)
        ctx.pool, ctx.backend = pool, backend
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, k, sums, a, b, *parameters = ctx.saved_tensors
        backend, dx = ctx.backend, None
        blocks = list(_image_blocks(x))
        d_activations = [
            _pool_backward(d_block, block, a, b, ctx.pool, backend)
            for block, d_block in zip(blocks, dy.split(len(blocks[0])), strict=True)
        ]
        g_sums = torch.cat([
            backend.gradient_sums(rows(d_block), rows(block), k, a, b)
            for block, d_block in zip(blocks, d_activations, strict=True)
        ], dim=1)  # fmt: skip
        p, q, d_parameters = gradients(g_sums, k, sums, a, b, parameters)
        p, q = p[:1], q[:1]  # without a gate they are the same for all images
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            for block, d_block, out in zip(blocks, d_activations, _image_blocks(dx), strict=True):
                backend.gradient(rows(d_block), rows(block), a, b, p, q, relu=True, out=rows(out))
        return dx, None, None, None, *d_parameters


def _pool_backward(dy: Tensor, x: Tensor, a: Tensor, b: Tensor, pool: Pool, backend: ModuleType) -> Tensor:
    """The gradient of the activations, in x's shape and memory format."""
    if isinstance(pool, nn.AvgPool2d):
        return _avg_pool_backward(dy / 4, x)
    activations = _activations(x, a, b, backend)
    options = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    window = [[option, option] if isinstance(option, int) else list(option) for option in options]
    _, indices = torch.ops.aten.max_pool2d_with_indices(activations, *window, False)
    dy = dy.contiguous(memory_format=torch.channels_last)
    dx: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(dy, activations, *window, False, indices)
    return dx


def _image_blocks(x: Tensor) -> Iterator[Tensor]:
    """The images in blocks that fit in the cache; on a GPU, all at once."""
    count = max(1, CACHE_BYTES // (x[0].numel() * x.itemsize)) if x.device.type == "cpu" else len(x)
    yield from x.split(count)


def _avg_pool_backward(dy: Tensor, x: Tensor) -> Tensor:
    """Each value at the four positions that it is the mean of: (N, C, h, w) -> (N, C, H, W), as x.

    Positions outside all windows are zero.
    """
    n, c, h, w = dy.shape
    out = torch.empty_like(x)
    out[:, :, 2 * h :] = 0
    out[:, :, :, 2 * w :] = 0
    corners = out[:, :, : 2 * h, : 2 * w].unflatten(3, (w, 2)).unflatten(2, (h, 2))
    corners.copy_(dy[:, :, :, None, :, None].expand(n, c, h, 2, w, 2))
    return out
