"""The matrix products of ``excite.kernels.reference`` as Triton kernels, fused with the passes around them.

The input is normalized in the prologue of the product; the statistics of the output, or the whole gradient
pass of the batch norm before it, are the epilogue. Each tile or part of the rows has a sum of its own, added
up in a second, small step, so that sums are the same in every run.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from excite.kernels.gpu import passes

MATMUL_PARTS = 264  # programs of the gradient: two for each multiprocessor of an H100 or H200
MAX_OUTPUTS = 256  # whose weights the gradient can hold in a tile


@triton.jit(do_not_specialize=["m"])
def _matmul(  # type: ignore[no-untyped-def]
    x, a, b, w, k, z, sums,  # pointers, as in ``reference.normalized_matmul``
    m, c, j,  # rows, inputs, and outputs
    x_row, w_row, z_row,  # strides
    wide: tl.constexpr,  # whether to multiply in float32
    tile_m: tl.constexpr, tile_j: tl.constexpr, tile_c: tl.constexpr,
):  # fmt: skip
    # Programs with the same rows of x run one after the other, so that the rows are still in the cache.
    across = tl.cdiv(j, tile_j)
    tiles, part = tl.num_programs(0) // across, tl.program_id(0) // across
    start = part.to(tl.int64) * tile_m
    row = tl.arange(0, tile_m)
    out = tl.program_id(0) % across * tile_j + tl.arange(0, tile_j)
    here, among = row < (m - start).to(tl.int32), out < j
    x += start * x_row
    z += start * z_row
    total = tl.zeros((tile_m, tile_j), tl.float32)
    for first in range(0, c, tile_c):
        channel = first + tl.arange(0, tile_c)
        inside = channel < c
        slope = tl.load(a + channel, mask=inside, other=0.0)
        level = tl.load(b + channel, mask=inside, other=0.0)
        u = tl.load(
            x + row[:, None] * x_row + channel[None, :], mask=here[:, None] & inside[None, :], other=0.0
        )
        weight = tl.load(
            w + out[:, None] * w_row + channel[None, :], mask=among[:, None] & inside[None, :], other=0.0
        )
        y = u.to(tl.float32) * slope[None, :] + level[None, :]
        h = tl.where(y < 0, 0.0, y).to(weight.dtype)
        if wide:
            h, weight = h.to(tl.float32), weight.to(tl.float32)
        total = tl.dot(h, tl.trans(weight), total, input_precision="ieee")
    mask = here[:, None] & among[None, :]
    rounded = total.to(z.dtype.element_ty)
    tl.store(z + row[:, None] * z_row + out[None, :], rounded, mask=mask)
    center = tl.load(k + out, mask=among, other=0.0)
    u = tl.where(mask, rounded.to(tl.float32) - center[None, :], 0.0)
    sums += part.to(tl.int64) * j + out
    tl.store(sums, tl.sum(u, 0), mask=among)
    tl.store(sums + tiles.to(tl.int64) * j, tl.sum(u * u, 0), mask=among)


@triton.jit(do_not_specialize=["m", "piece"])
def _matmul_gradient(  # type: ignore[no-untyped-def]
    dz, x, a, b, w, k, into, dw, sums,  # pointers, as in ``reference.matmul_gradient``
    m, c, j, piece,  # rows, inputs, outputs, and rows of a part
    d_row, x_row, w_row, i_row,  # strides
    wide: tl.constexpr,  # whether to multiply in float32
    tile_m: tl.constexpr, tile_j: tl.constexpr, tile_c: tl.constexpr,
):  # fmt: skip
    # Programs with the same rows of dz run one after the other, so that the rows are still in the cache.
    across = tl.cdiv(c, tile_c)
    parts, part = tl.num_programs(0) // across, (tl.program_id(0) // across).to(tl.int64)
    start = part * piece
    row, out = tl.arange(0, tile_m), tl.arange(0, tile_j)
    channel = tl.program_id(0) % across * tile_c + tl.arange(0, tile_c)
    inside, among = channel < c, out < j
    slope = tl.load(a + channel, mask=inside, other=0.0)[None, :]
    level = tl.load(b + channel, mask=inside, other=0.0)[None, :]
    center = tl.load(k + channel, mask=inside, other=0.0)[None, :]
    held = among[:, None] & inside[None, :]
    weight = tl.load(w + out[:, None] * w_row + channel[None, :], mask=held, other=0.0)
    if wide:
        weight = weight.to(tl.float32)
    dz += start * d_row
    x += start * x_row
    into += start * i_row
    left = tl.minimum(m - start, piece).to(tl.int32)
    ones = tl.zeros((tile_c,), tl.float32)
    products = tl.zeros((tile_c,), tl.float32)
    total = tl.zeros((tile_j, tile_c), tl.float32)
    for done in range(0, left, tile_m):
        here = row < left - done
        mask = here[:, None] & inside[None, :]
        d_rows = tl.load(
            dz + row[:, None] * d_row + out[None, :], mask=here[:, None] & among[None, :], other=0.0
        )
        u = tl.load(x + row[:, None] * x_row + channel[None, :], mask=mask, other=0.0)
        y = u.to(tl.float32) * slope + level
        h = tl.where(y < 0, 0.0, y).to(u.dtype)
        if wide:
            d_rows, h = d_rows.to(tl.float32), h.to(tl.float32)
        g = tl.where(y > 0, tl.dot(d_rows, weight, input_precision="ieee"), 0.0)
        place = into + row[:, None] * i_row + channel[None, :]
        value = tl.load(place, mask=mask, other=0.0).to(tl.float32) + g * slope
        tl.store(place, value.to(into.dtype.element_ty), mask=mask)
        ones += tl.sum(g, 0)
        products += tl.sum(g * (u.to(tl.float32) - center), 0)
        total = tl.dot(tl.trans(d_rows), h, total, input_precision="ieee")
        dz += tile_m * d_row
        x += tile_m * x_row
        into += tile_m * i_row
    tl.store(dw + (part * j + out[:, None]) * c + channel[None, :], total, mask=held)
    sums += part * c + channel
    tl.store(sums, ones, mask=inside)
    tl.store(sums + parts.to(tl.int64) * c, products, mask=inside)


def _wide(x: Tensor) -> bool:
    """Whether to multiply in float32; Triton's interpreter, on a CPU, cannot multiply bfloat16."""
    return x.dtype == torch.float32 or not x.is_cuda


def _is_hopper(x: Tensor) -> bool:
    """Whether products read operands from shared memory, which leaves registers for a wider tile."""
    return x.is_cuda and torch.cuda.get_device_capability(x.device)[0] == 9


def normalized_matmul(x: Tensor, a: Tensor, b: Tensor, w: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """As ``reference.normalized_matmul``."""
    (m, c), j = x.shape, len(w)
    tile_m, tile_c, warps = (64, 32, 4) if x.dtype == torch.float32 else (128, 64, 8)
    tile_j = min(128, max(16, triton.next_power_of_2(j)))
    tiles = triton.cdiv(m, tile_m)
    z = torch.empty(m, j, dtype=x.dtype, device=x.device)
    partial = torch.empty(2, tiles, j, device=x.device)
    passes.launch(
        _matmul, (tiles * triton.cdiv(j, tile_j),), x, a, b, w, k, z, partial, m, c, j,
        x.stride(0), w.stride(0), z.stride(0),
        wide=_wide(x), tile_m=tile_m, tile_j=tile_j, tile_c=tile_c, num_warps=warps,
    )  # fmt: skip
    return z, partial.sum(1)


def matmul_gradient(
    dz: Tensor, x: Tensor, a: Tensor, b: Tensor, w: Tensor, k: Tensor, into: Tensor
) -> tuple[Tensor, Tensor]:
    """As ``reference.matmul_gradient``."""
    if x.dtype == torch.float32 or len(w) > MAX_OUTPUTS:
        return _matmul_gradient_in_passes(dz, x, a, b, w, k, into)
    (m, c), j = x.shape, len(w)
    tile_j = max(16, triton.next_power_of_2(j))
    tile_m, tile_c = (
        64,
        64 if tile_j <= 128 and _is_hopper(x) else 32,
    )  # larger tiles do not fit in the registers
    across, tiles = triton.cdiv(c, tile_c), triton.cdiv(m, tile_m)
    piece = triton.cdiv(tiles, min(triton.cdiv(MATMUL_PARTS, across), tiles)) * tile_m
    parts = triton.cdiv(m, piece)
    dw = torch.empty(parts, j, c, device=x.device)
    partial = torch.empty(2, parts, c, device=x.device)
    passes.launch(
        _matmul_gradient, (across * parts,), dz, x, a, b, w, k, into, dw, partial, m, c, j, piece,
        dz.stride(0), x.stride(0), w.stride(0), into.stride(0),
        wide=_wide(x), tile_m=tile_m, tile_j=tile_j, tile_c=tile_c, num_warps=8,
    )  # fmt: skip
    return dw.sum(0), partial.sum(1)


def _matmul_gradient_in_passes(
    dz: Tensor, x: Tensor, a: Tensor, b: Tensor, w: Tensor, k: Tensor, into: Tensor
) -> tuple[Tensor, Tensor]:
    """The same with PyTorch's products and separate passes, where both products do not fit in one tile."""
    h = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    passes.scale(x[None], a[None], b[None], None, True, h[None])
    sums = passes.gradient_sums((dz @ w)[None], x[None], k, a[None], b[None], into=into[None], scaled=True)
    return (dz.T @ h).float(), sums[:, 0]
