"""The passes of ``excite.kernels.reference`` as loops that numba compiles for this processor.

No C compiler is needed. Tensors are given by address. A feature map (N, P, C) is divided into N x ``parts``
blocks of rows; of T threads, thread t computes the blocks t, t + T, t + 2T, and so on. Each block writes its
own sums, which the caller adds, so that results do not depend on the number of threads. Maps are float32, or
bfloat16 if the argument ``narrow`` is true; each task selects the loop for a block by it.

Names in the arguments of a task: x, y, dy and so on are addresses; the two numbers after a map are its
strides from image to image and from row to row, in elements; ``step`` is the stride of coefficients from
image to image, 0 if all images have the same.
"""

from __future__ import annotations

import ctypes
from typing import Any

from llvmlite import binding
from numba import carray, njit, types

from excite.kernels.cpu.openmp import openmp
from excite.kernels.cpu.pointers import bfloat16_at, fetch, float32_at, load, masked, store
from excite.kernels.kernel_cache import compile_kernel

_library = openmp()
if _library is not None:
    _address = ctypes.cast(_library.omp_get_thread_num, ctypes.c_void_p).value
    binding.add_symbol("excite_thread_number", _address)
thread_number: Any = types.ExternalFunction("excite_thread_number", types.int32())

compiled: Any = njit(fastmath={"contract", "nsz"}, error_model="numpy")


def task(function: Any) -> Any:
    """Compile ``void function(int64_t *arguments)``; the functions that it calls are compiled with it."""
    return compile_kernel(function, types.void(types.CPointer(types.int64)))


# How gradient_sums computes g from dy, and what it writes to ``into``. ALL: g = dy, nothing. SCALED_MASK: g =
# dy where x a + b is positive, nothing. OUTPUT_MASK: g = dy where y is positive, g. SCALED_MASK_ADDED: as
# SCALED_MASK, and g a is added.
ALL, SCALED_MASK, OUTPUT_MASK, SCALED_MASK_ADDED = range(4)


@compiled
def _clear(ones: Any, squares: Any, at: int, c: int) -> None:
    for i in range(c):
        store(ones, at + i, 0.0)
        store(squares, at + i, 0.0)


@compiled
def _sums(x: Any, row: int, count: int, c: int, k: Any, ones: Any, squares: Any, at: int) -> None:
    # Four rows at a time, so that the sums are loaded and stored once for four.
    for r in range(0, count - 3, 4):
        x0, x1, x2, x3 = r * row, (r + 1) * row, (r + 2) * row, (r + 3) * row
        for i in range(c):
            m = load(k, i)
            s, t, u, v = load(x, x0 + i) - m, load(x, x1 + i) - m, load(x, x2 + i) - m, load(x, x3 + i) - m
            store(ones, at + i, fetch(ones, at + i) + ((s + t) + (u + v)))
            store(squares, at + i, fetch(squares, at + i) + ((s * s + t * t) + (u * u + v * v)))
    for r in range(count - count % 4, count):
        for i in range(c):
            s = load(x, r * row + i) - load(k, i)
            store(ones, at + i, fetch(ones, at + i) + s)
            store(squares, at + i, fetch(squares, at + i) + s * s)


@task
def sums(arguments: Any) -> None:
    """Sums of x - k and of its square for each block.

    Arguments: threads, narrow, n, p, c, parts; x and its strides; k (c); ones and squares (n, parts, c).
    """
    threads, narrow, n, p, c, parts, x, image, row, k, ones, squares = carray(arguments, 12)
    piece = (p + parts - 1) // parts
    for item in range(thread_number(), n * parts, threads):
        first = item % parts * piece
        count = min(p - first, piece)
        at = item // parts * image + first * row
        _clear(float32_at(ones), float32_at(squares), item * c, c)
        k_, ones_, squares_ = float32_at(k), float32_at(ones), float32_at(squares)
        if narrow:
            _sums(bfloat16_at(x + 2 * at), row, count, c, k_, ones_, squares_, item * c)
        else:
            _sums(float32_at(x + 4 * at), row, count, c, k_, ones_, squares_, item * c)


@compiled
def _ones(x: Any, row: int, count: int, c: int, ones: Any, at: int) -> None:
    for r in range(0, count - 7, 8):
        x0, x1, x2, x3 = r * row, (r + 1) * row, (r + 2) * row, (r + 3) * row
        x4, x5, x6, x7 = (r + 4) * row, (r + 5) * row, (r + 6) * row, (r + 7) * row
        for i in range(c):
            s = (load(x, x0 + i) + load(x, x1 + i)) + (load(x, x2 + i) + load(x, x3 + i))
            t = (load(x, x4 + i) + load(x, x5 + i)) + (load(x, x6 + i) + load(x, x7 + i))
            store(ones, at + i, fetch(ones, at + i) + (s + t))
    for r in range(count - count % 8, count):
        for i in range(c):
            store(ones, at + i, fetch(ones, at + i) + load(x, r * row + i))


@compiled
def clear(x: Any, first: int, last: int) -> None:
    for i in range(first, last):
        store(x, i, 0.0)


@compiled
def sum_rows(narrow: int, x: int, row: int, count: int, c: int, ones: Any, at: int) -> None:
    """ones[at + i] = the sum of channel i over ``count`` rows, of which the first is at the address ``x``."""
    clear(ones, at, at + c)
    if narrow:
        _ones(bfloat16_at(x), row, count, c, ones, at)
    else:
        _ones(float32_at(x), row, count, c, ones, at)


@task
def means(arguments: Any) -> None:
    """Sums of x for each block.

    Arguments: threads, narrow, n, p, c, parts; x and its strides; sums (n, parts, c).
    """
    threads, narrow, n, p, c, parts, x, image, row, ones = carray(arguments, 10)
    piece = (p + parts - 1) // parts
    for item in range(thread_number(), n * parts, threads):
        first = item % parts * piece
        count = min(p - first, piece)
        at = item // parts * image + first * row
        sum_rows(narrow, x + (2 if narrow else 4) * at, row, count, c, float32_at(ones), item * c)


@compiled
def _scale(x: Any, row: int, y: Any, y_row: int, count: int, c: int, a: Any, b: Any, relu: bool) -> None:
    # With attention, a and b hold s a0 and s b0: gates times the coefficients of the batch norm.
    for r in range(count):
        if relu:
            for i in range(c):
                store(y, r * y_row + i, max(load(x, r * row + i) * load(a, i) + load(b, i), 0.0))
        else:
            for i in range(c):
                store(y, r * y_row + i, load(x, r * row + i) * load(a, i) + load(b, i))


@compiled
def _scale_add(
    x: Any,
    row: int,
    added: Any,
    added_row: int,
    y: Any,
    y_row: int,
    count: int,
    c: int,
    a: Any,
    b: Any,
    relu: bool,
) -> None:
    for r in range(count):
        if relu:
            for i in range(c):
                out = load(x, r * row + i) * load(a, i) + load(b, i) + load(added, r * added_row + i)
                store(y, r * y_row + i, max(out, 0.0))
        else:
            for i in range(c):
                out = load(x, r * row + i) * load(a, i) + load(b, i) + load(added, r * added_row + i)
                store(y, r * y_row + i, out)


@compiled
def scale_rows(
    narrow: int, x: int, row: int, added: int, added_row: int, y: int, y_row: int, count: int, c: int,
    a: Any, b: Any, relu: bool,
) -> None:  # fmt: skip
    """y = relu(x a + b + added) for ``count`` rows from the addresses on; added = 0: no shortcut."""
    if narrow and added:
        shortcut, out = bfloat16_at(added), bfloat16_at(y)
        _scale_add(bfloat16_at(x), row, shortcut, added_row, out, y_row, count, c, a, b, relu)
    elif narrow:
        _scale(bfloat16_at(x), row, bfloat16_at(y), y_row, count, c, a, b, relu)
    elif added:
        wide_shortcut, wide_out = float32_at(added), float32_at(y)
        _scale_add(float32_at(x), row, wide_shortcut, added_row, wide_out, y_row, count, c, a, b, relu)
    else:
        _scale(float32_at(x), row, float32_at(y), y_row, count, c, a, b, relu)


@task
def scale(arguments: Any) -> None:
    """y = relu(x a + b + shortcut).

    Arguments: threads, narrow, n, p, c, parts; x and its strides; a, b, and their step; the shortcut (0:
    none) and its strides; y and its strides; relu.
    """
    (threads, narrow, n, p, c, parts, x, image, row, a, b, step,
     s, s_image, s_row, y, y_image, y_row, relu) = carray(arguments, 19)  # fmt: skip
    piece = (p + parts - 1) // parts
    for item in range(thread_number(), n * parts, threads):
        first = item % parts * piece
        count = min(p - first, piece)
        number = item // parts
        x_at, y_at = number * image + first * row, number * y_image + first * y_row
        s_at = number * s_image + first * s_row if s else 0
        a_, b_ = float32_at(a + 4 * number * step), float32_at(b + 4 * number * step)
        size = 2 if narrow else 4
        scale_rows(narrow, x + size * x_at, row, s + size * s_at, s_row, y + size * y_at, y_row,
                   count, c, a_, b_, relu != 0)  # fmt: skip


@compiled
def _gradient_sums(
    dy: Any, d_row: int, x: Any, row: int, count: int, c: int, k: Any, a: Any, b: Any,
    y: Any, y_row: int, into: Any, i_row: int, mode: int, ones: Any, products: Any, at: int,
) -> None:  # fmt: skip
    for r in range(count):
        if mode == ALL:
            for i in range(c):
                g = load(dy, r * d_row + i)
                store(ones, at + i, fetch(ones, at + i) + g)
                store(products, at + i, fetch(products, at + i) + g * (load(x, r * row + i) - load(k, i)))
        elif mode == SCALED_MASK:
            for i in range(c):
                u = load(x, r * row + i)
                g = masked(u * load(a, i) + load(b, i), load(dy, r * d_row + i))
                store(ones, at + i, fetch(ones, at + i) + g)
                store(products, at + i, fetch(products, at + i) + g * (u - load(k, i)))
        elif mode == OUTPUT_MASK:
            for i in range(c):
                g = masked(load(y, r * y_row + i), load(dy, r * d_row + i))
                store(into, r * i_row + i, g)
                store(ones, at + i, fetch(ones, at + i) + g)
                store(products, at + i, fetch(products, at + i) + g * (load(x, r * row + i) - load(k, i)))
        else:
            for i in range(c):
                u, by = load(x, r * row + i), load(a, i)
                g = masked(u * by + load(b, i), load(dy, r * d_row + i))
                store(into, r * i_row + i, fetch(into, r * i_row + i) + g * by)
                store(ones, at + i, fetch(ones, at + i) + g)
                store(products, at + i, fetch(products, at + i) + g * (u - load(k, i)))


@task
def gradient_sums(arguments: Any) -> None:
    """Sums of g and of g (x - k) for each block; g is dy, masked as ``mode`` says.

    Arguments: threads, narrow, n, p, c, parts; dy and its strides; x and its strides; k, a, b, and the step
    of a and b; y and its strides; into and its strides; mode; ones and products (n, parts, c).
    """
    (threads, narrow, n, p, c, parts, dy, d_image, d_row, x, image, row, k, a, b, step,
     y, y_image, y_row, into, i_image, i_row, mode, ones, products) = carray(arguments, 25)  # fmt: skip
    piece = (p + parts - 1) // parts
    for item in range(thread_number(), n * parts, threads):
        first = item % parts * piece
        count = min(p - first, piece)
        number = item // parts
        d_at, x_at = number * d_image + first * d_row, number * image + first * row
        y_at, i_at = number * y_image + first * y_row, number * i_image + first * i_row
        a_, b_ = float32_at(a + 4 * number * step), float32_at(b + 4 * number * step)
        k_, ones_, products_ = float32_at(k), float32_at(ones), float32_at(products)
        _clear(ones_, products_, item * c, c)
        if narrow:
            _gradient_sums(
                bfloat16_at(dy + 2 * d_at), d_row, bfloat16_at(x + 2 * x_at), row, count, c, k_, a_, b_,
                bfloat16_at(y + 2 * y_at), y_row, bfloat16_at(into + 2 * i_at), i_row, mode,
                ones_, products_, item * c,
            )  # fmt: skip
        else:
            _gradient_sums(
                float32_at(dy + 4 * d_at), d_row, float32_at(x + 4 * x_at), row, count, c, k_, a_, b_,
                float32_at(y + 4 * y_at), y_row, float32_at(into + 4 * i_at), i_row, mode,
                ones_, products_, item * c,
            )  # fmt: skip


@compiled
def _gradient(
    dy: Any, d_row: int, x: Any, row: int, y: Any, y_row: int, count: int, c: int,
    a: Any, b: Any, p: Any, q: Any, relu: bool,
) -> None:  # fmt: skip
    for r in range(count):
        if relu:
            for i in range(c):
                u, by = load(x, r * row + i), load(a, i)
                g = masked(u * by + load(b, i), load(dy, r * d_row + i))
                store(y, r * y_row + i, g * by + load(p, i) + load(q, i) * u)
        else:
            for i in range(c):
                u, g = load(x, r * row + i), load(dy, r * d_row + i)
                store(y, r * y_row + i, g * load(a, i) + load(p, i) + load(q, i) * u)


@task
def gradient(arguments: Any) -> None:
    """y = g a + p + q x, where g is dy, with relu only where x a + b is positive.

    Arguments: threads, narrow, n, p, c, parts; dy, x, and y, each with its strides; a, b, p, q; the step of a
    and b, the step of p and q; relu.
    """
    (threads, narrow, n, p, c, parts, dy, d_image, d_row, x, image, row, y, y_image, y_row,
     a, b, p_, q, step, p_step, relu) = carray(arguments, 22)  # fmt: skip
    piece = (p + parts - 1) // parts
    for item in range(thread_number(), n * parts, threads):
        first = item % parts * piece
        count = min(p - first, piece)
        number = item // parts
        d_at, x_at = number * d_image + first * d_row, number * image + first * row
        y_at = number * y_image + first * y_row
        a4, b4 = float32_at(a + 4 * number * step), float32_at(b + 4 * number * step)
        p4, q4 = float32_at(p_ + 4 * number * p_step), float32_at(q + 4 * number * p_step)
        if narrow:
            _gradient(
                bfloat16_at(dy + 2 * d_at), d_row, bfloat16_at(x + 2 * x_at), row,
                bfloat16_at(y + 2 * y_at), y_row, count, c, a4, b4, p4, q4, relu != 0,
            )  # fmt: skip
        else:
            _gradient(
                float32_at(dy + 4 * d_at), d_row, float32_at(x + 4 * x_at), row,
                float32_at(y + 4 * y_at), y_row, count, c, a4, b4, p4, q4, relu != 0,
            )  # fmt: skip
