"""Gradients of depthwise convolutions as loops that numba compiles for this processor.

As in ``norm_loops``, tensors are given by address, and maps are float32, or bfloat16 if ``narrow`` is true.
Maps (N, H, W, C) are contiguous, which is channels-last memory; weights and their gradients are (k, k, C), so
that the innermost loop goes over channels.
"""

from __future__ import annotations

from typing import Any

from numba import carray

from excite.kernels.cpu.norm_loops import clear, compiled, task, thread_number
from excite.kernels.cpu.pointers import bfloat16_at, fetch, float32_at, load, store


@compiled
def _add_products(
    x: Any, at: int, step: int, g: Any, place: int, count: int, c: int, total: Any, tap: int
) -> None:
    # Four columns at a time, so that the sums are loaded and stored once for four.
    for r in range(0, count - 3, 4):
        x0, g0 = at + r * step, place + r * c
        x1, x2, x3 = x0 + step, x0 + 2 * step, x0 + 3 * step
        g1, g2, g3 = g0 + c, g0 + 2 * c, g0 + 3 * c
        for i in range(c):
            s = load(x, x0 + i) * load(g, g0 + i) + load(x, x1 + i) * load(g, g1 + i)
            t = load(x, x2 + i) * load(g, g2 + i) + load(x, x3 + i) * load(g, g3 + i)
            store(total, tap + i, fetch(total, tap + i) + (s + t))
    for r in range(count - count % 4, count):
        for i in range(c):
            product = load(x, at + r * step + i) * load(g, place + r * c + i)
            store(total, tap + i, fetch(total, tap + i) + product)


@compiled
def _inside(size: int, out: int, stride: int, pad: int, offset: int) -> tuple[int, int]:
    """The first and the last + 1 output position whose input position + offset is inside the map."""
    first = max(0, (pad - offset + stride - 1) // stride)
    last = min(out, (size - 1 + pad - offset) // stride + 1)
    return first, max(first, last)


@compiled
def _add_image(x: Any, g: Any, sums: Any, h: int, shape: Any, pads: Any) -> None:
    """The sums of one image: for each row of the output and each offset, the products along the row."""
    w, c, out_h, out_w, k, stride = shape
    for row in range(out_h):
        for i in range(k):
            y = row * stride - pads[0] + i
            if y < 0 or y >= h:
                continue
            for j in range(k):
                first, last = _inside(w, out_w, stride, pads[1], j)
                at = (y * w + first * stride - pads[1] + j) * c
                place, tap = (row * out_w + first) * c, (i * k + j) * c
                _add_products(x, at, stride * c, g, place, last - first, c, sums, tap)


@task
def weight_gradient(arguments: Any) -> None:
    """Sums over the positions of each image.

    Arguments: threads, narrow, n, h, w, c, out_h, out_w, k, stride, pad_h, pad_w; x; g; total (n, k, k, c).
    """
    threads, narrow, n, h, w, c, out_h, out_w, k, stride, pad_h, pad_w, x, g, total = carray(arguments, 15)
    size = 2 if narrow else 4
    shape, pads = (w, c, out_h, out_w, k, stride), (pad_h, pad_w)
    for image in range(thread_number(), n, threads):
        sums = float32_at(total + 4 * image * k * k * c)
        clear(sums, 0, k * k * c)
        x_image, g_image = x + size * image * h * w * c, g + size * image * out_h * out_w * c
        if narrow:
            _add_image(bfloat16_at(x_image), bfloat16_at(g_image), sums, h, shape, pads)
        else:
            _add_image(float32_at(x_image), float32_at(g_image), sums, h, shape, pads)


@compiled
def _spread(g: Any, w: Any, sums: Any, out: Any, h: int, row: int, shape: Any, pads: Any) -> None:
    """One row of the gradient of the input: for each position, the outputs that it takes part in."""
    width, c, out_h, out_w, k, stride = shape
    for column in range(width):
        clear(sums, 0, c)
        for i in range(k):
            y = row + pads[0] - i
            if y < 0 or y % stride or y // stride >= out_h:
                continue
            for j in range(k):
                x = column + pads[1] - j
                if x < 0 or x % stride or x // stride >= out_w:
                    continue
                at, tap = (y // stride * out_w + x // stride) * c, (i * k + j) * c
                for q in range(c):
                    store(sums, q, fetch(sums, q) + load(g, at + q) * load(w, tap + q))
        for q in range(c):
            store(out, (row * width + column) * c + q, fetch(sums, q))


@task
def input_gradient(arguments: Any) -> None:
    """The gradient of the input, for any stride.

    Arguments: threads, narrow, n, h, w, c, out_h, out_w, k, stride, pad_h, pad_w; g; weight (k, k, c); sums
    for each thread (threads, c); the gradient.
    """
    threads, narrow, n, h, w, c, out_h, out_w, k, stride, pad_h, pad_w, g, weight, sums, out = carray(
        arguments, 16
    )
    size = 2 if narrow else 4
    thread = thread_number()
    row_sums = float32_at(sums + 4 * thread * c)
    shape, pads = (w, c, out_h, out_w, k, stride), (pad_h, pad_w)
    for item in range(thread, n * h, threads):
        image, row = item // h, item % h
        g_image, out_image = g + size * image * out_h * out_w * c, out + size * image * h * w * c
        if narrow:
            _spread(
                bfloat16_at(g_image),
                float32_at(weight),
                row_sums,
                bfloat16_at(out_image),
                h,
                row,
                shape,
                pads,
            )
        else:
            _spread(
                float32_at(g_image), float32_at(weight), row_sums, float32_at(out_image), h, row, shape, pads
            )
