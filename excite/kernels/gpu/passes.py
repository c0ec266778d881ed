"""The passes of ``excite.kernels.reference`` on a GPU, as Triton kernels that move each byte once.

A program processes tiles of rows and channels of one image, or of a part of its rows if there are too few
images to fill a GPU. Arithmetic is in float32. Each part has a sum of its own, added up in a second, small
step, so that sums are the same in every run. Offsets have 32 bits within a tile and 64 between tiles.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from excite.kernels.reference import Excitation, excitation_gates

PROGRAMS = 1056  # eight for each multiprocessor of an H100 or H200
TILE = 2048  # elements of a tile: with four warps, 16 per thread
CHANNELS = 128  # at most, in a tile: a row of it fills whole cache lines


@triton.jit(do_not_specialize=["p", "piece", "parts"])
def _sums(  # type: ignore[no-untyped-def]
    x, k, sums,  # pointers
    p, c, x_image, x_row,  # rows and channels of an image, strides
    piece, parts,  # rows of a part, parts of an image
    tile_p: tl.constexpr, tile_c: tl.constexpr,  # rows and channels of a tile
):  # fmt: skip
    which, n = tl.program_id(0).to(tl.int64), tl.num_programs(0).to(tl.int64)
    start = which % parts * piece
    channel = tl.program_id(1) * tile_c + tl.arange(0, tile_c)
    inside = channel < c
    center = tl.load(k + channel, mask=inside, other=0.0)
    row = tl.arange(0, tile_p)
    x += which // parts * x_image + start * x_row
    x_tile = row[:, None] * x_row + channel[None, :]
    left = tl.minimum(p - start, piece).to(tl.int32)
    ones = tl.zeros((tile_p, tile_c), tl.float32)
    squares = tl.zeros((tile_p, tile_c), tl.float32)
    for done in range(0, left, tile_p):
        mask = (row < left - done)[:, None] & inside[None, :]
        u = tl.load(x + x_tile, mask=mask, other=0.0).to(tl.float32) - center[None, :]
        u = tl.where(mask, u, 0.0)
        ones += u
        squares += u * u
        x += tile_p * x_row
    sums += which * c + channel
    tl.store(sums, tl.sum(ones, 0), mask=inside)
    tl.store(sums + n * c, tl.sum(squares, 0), mask=inside)


@triton.jit(do_not_specialize=["p", "tiles"])
def _scale(  # type: ignore[no-untyped-def]
    x, a, b, shortcut, out,  # pointers
    p, c, tiles,  # rows, channels, and tiles of an image
    x_image, x_row, a_image, b_image, s_image, s_row, o_image, o_row,  # strides
    add: tl.constexpr, relu: tl.constexpr,  # whether there is a shortcut, a ReLU
    tile_p: tl.constexpr, tile_c: tl.constexpr,  # rows and channels of a tile
):  # fmt: skip
    image = (tl.program_id(0) // tiles).to(tl.int64)
    start = (tl.program_id(0) % tiles).to(tl.int64) * tile_p
    channel = tl.program_id(1) * tile_c + tl.arange(0, tile_c)
    inside = channel < c
    row = tl.arange(0, tile_p)
    mask = (row < (p - start).to(tl.int32))[:, None] & inside[None, :]
    x += image * x_image + start * x_row
    u = tl.load(x + row[:, None] * x_row + channel[None, :], mask=mask, other=0.0).to(tl.float32)
    slope = tl.load(a + image * a_image + channel, mask=inside, other=0.0)
    level = tl.load(b + image * b_image + channel, mask=inside, other=0.0)
    y = u * slope[None, :] + level[None, :]
    if add:
        shortcut += image * s_image + start * s_row
        y += tl.load(shortcut + row[:, None] * s_row + channel[None, :], mask=mask, other=0.0).to(tl.float32)
    if relu:
        y = tl.where(y < 0, 0.0, y)  # as in PyTorch, NaN stays NaN
    out += image * o_image + start * o_row
    tl.store(out + row[:, None] * o_row + channel[None, :], y.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["p", "piece", "parts"])
def _gradient_sums(  # type: ignore[no-untyped-def]
    dy, x, k, a, b, y, into, sums,  # pointers, as in ``reference.gradient_sums``
    p, c, piece, parts,  # rows and channels of an image, rows of a part, parts of an image
    d_image, d_row, x_image, x_row,  # strides of dy and x
    a_image, b_image,  # strides of the coefficients, 0 if they are the same for all images
    y_image, y_row, i_image, i_row,  # strides of y and ``into``
    relu: tl.constexpr, has_y: tl.constexpr,  # whether there is a mask, and whether it is that of y
    write: tl.constexpr, scaled: tl.constexpr,  # whether g goes to ``into``, and whether as g a is added
    tile_p: tl.constexpr, tile_c: tl.constexpr,  # rows and channels of a tile
):  # fmt: skip
    which, n = tl.program_id(0).to(tl.int64), tl.num_programs(0).to(tl.int64)
    image, start = which // parts, which % parts * piece
    channel = tl.program_id(1) * tile_c + tl.arange(0, tile_c)
    inside = channel < c
    center = tl.load(k + channel, mask=inside, other=0.0)
    slope = tl.load(a + image * a_image + channel, mask=inside, other=0.0)
    level = tl.load(b + image * b_image + channel, mask=inside, other=0.0)
    row = tl.arange(0, tile_p)
    dy += image * d_image + start * d_row
    x += image * x_image + start * x_row
    y += image * y_image + start * y_row
    into += image * i_image + start * i_row
    d_tile = row[:, None] * d_row + channel[None, :]
    x_tile = row[:, None] * x_row + channel[None, :]
    y_tile = row[:, None] * y_row + channel[None, :]
    i_tile = row[:, None] * i_row + channel[None, :]
    left = tl.minimum(p - start, piece).to(tl.int32)
    ones = tl.zeros((tile_p, tile_c), tl.float32)
    products = tl.zeros((tile_p, tile_c), tl.float32)
    for done in range(0, left, tile_p):
        mask = (row < left - done)[:, None] & inside[None, :]
        g = tl.load(dy + d_tile, mask=mask, other=0.0).to(tl.float32)
        u = tl.load(x + x_tile, mask=mask, other=0.0).to(tl.float32)
        if relu:
            if has_y:
                positive = tl.load(y + y_tile, mask=mask, other=0.0).to(tl.float32) > 0
            else:
                positive = u * slope[None, :] + level[None, :] > 0
            g = tl.where(positive, g, 0.0)
        if write:
            value = g
            if scaled:
                value = tl.load(into + i_tile, mask=mask, other=0.0).to(tl.float32) + g * slope[None, :]
            tl.store(into + i_tile, value.to(into.dtype.element_ty), mask=mask)
        ones += g
        products += g * (u - center[None, :])
        dy += tile_p * d_row
        x += tile_p * x_row
        y += tile_p * y_row
        into += tile_p * i_row
    sums += which * c + channel
    tl.store(sums, tl.sum(ones, 0), mask=inside)
    tl.store(sums + n * c, tl.sum(products, 0), mask=inside)


@triton.jit(do_not_specialize=["rows", "tiles"])
def _gradient(  # type: ignore[no-untyped-def]
    dy, x, a, b, p, q, out,  # pointers
    rows, c, tiles,  # rows, channels, and tiles of an image
    d_image, d_row, x_image, x_row,  # strides of dy and x
    a_image, b_image, p_image, q_image,  # strides of the coefficients
    o_image, o_row,  # strides of the output
    relu: tl.constexpr,  # whether there is a mask
    tile_p: tl.constexpr, tile_c: tl.constexpr,  # rows and channels of a tile
):  # fmt: skip
    image = (tl.program_id(0) // tiles).to(tl.int64)
    start = (tl.program_id(0) % tiles).to(tl.int64) * tile_p
    channel = tl.program_id(1) * tile_c + tl.arange(0, tile_c)
    inside = channel < c
    row = tl.arange(0, tile_p)
    mask = (row < (rows - start).to(tl.int32))[:, None] & inside[None, :]
    dy += image * d_image + start * d_row
    x += image * x_image + start * x_row
    g = tl.load(dy + row[:, None] * d_row + channel[None, :], mask=mask, other=0.0).to(tl.float32)
    u = tl.load(x + row[:, None] * x_row + channel[None, :], mask=mask, other=0.0).to(tl.float32)
    slope = tl.load(a + image * a_image + channel, mask=inside, other=0.0)[None, :]
    if relu:
        level = tl.load(b + image * b_image + channel, mask=inside, other=0.0)[None, :]
        g = tl.where(u * slope + level > 0, g, 0.0)
    constant = tl.load(p + image * p_image + channel, mask=inside, other=0.0)[None, :]
    linear = tl.load(q + image * q_image + channel, mask=inside, other=0.0)[None, :]
    out += image * o_image + start * o_row
    value = (g * slope + constant + linear * u).to(out.dtype.element_ty)
    tl.store(out + row[:, None] * o_row + channel[None, :], value, mask=mask)


def _tile(x: Tensor) -> dict[str, int]:
    """Rows and channels of a tile for x (N, P, C)."""
    _, p, c = x.shape
    channels = min(CHANNELS, triton.next_power_of_2(c))
    return {"tile_p": min(TILE // channels, triton.next_power_of_2(p)), "tile_c": channels}


def _strides(x: Tensor) -> tuple[int, int]:
    """Strides between images and between rows of x, (N, P, C)."""
    return x.stride(0), x.stride(1)


def _image_stride(a: Tensor) -> int:
    """Stride between images of coefficients (N, C); 0 if they are the same for all, (1, C)."""
    return a.stride(0) if len(a) > 1 else 0


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Run a kernel on the device of its first argument."""
    with torch.cuda.device_of(arguments[0]):
        kernel[grid](*arguments, **constants)


def _parts(x: Tensor, tile_p: int, tile_c: int) -> tuple[int, int]:
    """Rows of a part and parts of an image, for enough programs to fill the GPU."""
    n, p, c = x.shape
    tiles = triton.cdiv(p, tile_p)
    parts = triton.cdiv(PROGRAMS, n * triton.cdiv(c, tile_c))
    piece = triton.cdiv(tiles, min(parts, tiles)) * tile_p
    return piece, triton.cdiv(p, piece)


def _empty_partial(x: Tensor, parts: int) -> Tensor:
    return torch.empty(2, len(x), parts, x.shape[2], device=x.device)


def _add_partial(partial: Tensor) -> Tensor:
    """(2, N, parts, C) -> (2, N, C)."""
    return partial.sum(2) if partial.shape[2] > 1 else partial[:, :, 0]


def means(x: Tensor) -> Tensor:
    """As ``reference.means``: PyTorch's own reduction reads the map once."""
    return x.mean(1, dtype=torch.float32)


def sums(x: Tensor, k: Tensor) -> Tensor:
    """As ``reference.sums``."""
    tile = _tile(x)
    piece, parts = _parts(x, **tile)
    n, p, c = x.shape
    partial = _empty_partial(x, parts)
    grid = n * parts, triton.cdiv(c, tile["tile_c"])
    launch(_sums, grid, x, k.contiguous(), partial, p, c, *_strides(x), piece, parts, **tile)
    return _add_partial(partial)


def scale(x: Tensor, a: Tensor, b: Tensor, shortcut: Tensor | None, relu: bool, out: Tensor) -> None:
    """As ``reference.scale``."""
    tile = _tile(x)
    n, p, c = x.shape
    a, b = a.contiguous(), b.contiguous()
    tiles = triton.cdiv(p, tile["tile_p"])
    other = x if shortcut is None else shortcut
    launch(
        _scale, (n * tiles, triton.cdiv(c, tile["tile_c"])), x, a, b, other, out, p, c, tiles,
        *_strides(x), _image_stride(a), _image_stride(b), *_strides(other), *_strides(out),
        add=shortcut is not None, relu=relu, **tile,
    )  # fmt: skip


def squeeze_excite(
    x: Tensor, excitation: Excitation, shortcut: Tensor | None, relu: bool, out: Tensor
) -> None:
    """As ``reference.squeeze_excite``."""
    s = excitation_gates(means(x), excitation)
    scale(x, s, torch.zeros_like(s), shortcut, relu, out)


def gradient_sums(
    dy: Tensor,
    x: Tensor,
    k: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    y: Tensor | None = None,
    relu: bool = True,
    into: Tensor | None = None,
    scaled: bool = False,
) -> Tensor:
    """As ``reference.gradient_sums``."""
    tile = _tile(x)
    piece, parts = _parts(x, **tile)
    n, p, c = x.shape
    partial = _empty_partial(x, parts)
    a, b = a.contiguous(), b.contiguous()
    mask = x if y is None else y
    target = x if into is None else into
    launch(
        _gradient_sums, (n * parts, triton.cdiv(c, tile["tile_c"])),
        dy, x, k.contiguous(), a, b, mask, target, partial, p, c, piece, parts,
        *_strides(dy), *_strides(x), _image_stride(a), _image_stride(b), *_strides(mask), *_strides(target),
        relu=relu, has_y=y is not None, write=into is not None, scaled=scaled, **tile,
    )  # fmt: skip
    return _add_partial(partial)


def gradient(
    dy: Tensor, x: Tensor, a: Tensor, b: Tensor, p: Tensor, q: Tensor, *, relu: bool, out: Tensor
) -> None:
    """As ``reference.gradient``."""
    tile = _tile(x)
    n, rows, c = x.shape
    a, b, p, q = a.contiguous(), b.contiguous(), p.contiguous(), q.contiguous()
    tiles = triton.cdiv(rows, tile["tile_p"])
    launch(
        _gradient, (n * tiles, triton.cdiv(c, tile["tile_c"])), dy, x, a, b, p, q, out, rows, c, tiles,
        *_strides(dy), *_strides(x), *map(_image_stride, (a, b, p, q)), *_strides(out),
        relu=relu, **tile,
    )  # fmt: skip


def product(x: Tensor, w: Tensor, out: Tensor) -> Tensor:
    """As ``reference.product``."""
    return torch.mm(x, w.t(), out=out)


def check() -> None:
    """Raises: RuntimeError, or an error of Triton, if kernels cannot be compiled for the GPU."""
    if torch.cuda.get_device_capability() < (8, 0):
        raise RuntimeError("Triton's kernels need a GPU of compute capability 8.0 or higher")
    x = torch.ones(1, 1, 16, device="cuda")
    sums(x, x[0, 0])  # a first launch needs a C compiler, which not every machine has
