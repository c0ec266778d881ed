"""Squeeze, excitation, scale, shortcut and ReLU of a few images in one call, compiled by numba.

For one image, starting the operators takes longer than the arithmetic: means, two matrix products, sigmoid,
and scale take about 0.1 ms as separate operators. Here the threads start once. They divide the rows of the
feature map among them, then its channels and hidden units, with a barrier between these steps.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

from llvmlite import binding
from numba import carray, types

from excite.kernels.cpu.norm_loops import clear, compiled, scale_rows, sum_rows, task, thread_number
from excite.kernels.cpu.openmp import openmp
from excite.kernels.cpu.pointers import fetch, float32_at, load, store

_library = openmp()
if _library is not None:
    binding.add_symbol("excite_barrier", ctypes.cast(_library.GOMP_barrier, ctypes.c_void_p).value)
barrier: Any = types.ExternalFunction("excite_barrier", types.void())


@compiled
def _means(sums: Any, threads: int, c: int, p: int, first: int, last: int, z: Any) -> None:
    for i in range(first, last):
        total = fetch(sums, i)
        for t in range(1, threads):
            total += fetch(sums, t * c + i)
        store(z, i, total / p)


@compiled
def _add_products(
    x: Any, start: int, stop: int, w: Any, wide: int, first: int, last: int, out: Any, at: int
) -> None:
    """out[at + j] += sum of x[i] w[i, j] over start <= i < stop, for first <= j < last.

    w has rows of ``wide`` numbers. Four rows are read at a time, so that each sum is loaded and stored once
    for four products.
    """
    for i in range(start, stop - 3, 4):
        u0, u1, u2, u3 = fetch(x, i), fetch(x, i + 1), fetch(x, i + 2), fetch(x, i + 3)
        w0, w1, w2, w3 = i * wide, (i + 1) * wide, (i + 2) * wide, (i + 3) * wide
        for j in range(first, last):
            s = u0 * load(w, w0 + j) + u1 * load(w, w1 + j)
            t = u2 * load(w, w2 + j) + u3 * load(w, w3 + j)
            store(out, at + j, fetch(out, at + j) + (s + t))
    for i in range(stop - (stop - start) % 4, stop):
        u = fetch(x, i)
        for j in range(first, last):
            store(out, at + j, fetch(out, at + j) + u * load(w, i * wide + j))


@compiled
def _hidden(parts: Any, threads: int, hidden: int, b: Any, out: Any, at: int) -> None:
    """out[at + j] = ReLU(b[j] + the sum over the threads of parts[thread, j])."""
    for j in range(hidden):
        total = load(b, j)
        for t in range(threads):
            total += fetch(parts, t * hidden + j)
        store(out, at + j, max(total, types.float32(0)))


@compiled
def _sigmoid(x: Any, b: Any, factor: float, first: int, last: int) -> None:
    for i in range(first, last):
        store(x, i, factor / (1 + math.exp(-(fetch(x, i) + load(b, i)))))


@task
def squeeze_excite(arguments: Any) -> None:
    """y = relu(s x + shortcut) for one image, where s are the gates of squeeze and excitation.

    Arguments, as int64: number of threads, whether x is bfloat16, p, c, hidden; addresses and row strides of
    x (p, c); addresses of w1 (c, hidden), b1, w2 (hidden, c), b2; the factor of the sigmoid; addresses of
    workspaces for sums (threads, c), means (c), and hidden units (2, threads, hidden); address of s (c);
    address and row stride of the shortcut (0 for none) and of y; whether ReLU follows.
    ``passes.squeeze_excite`` passes them in this order.
    """
    (threads, narrow, p, c, hidden, x, row, w1, b1, w2, b2, factor, sums, z, h, s, shortcut, s_row,
     y, y_row, relu) = carray(arguments, 21)  # fmt: skip
    me = thread_number()
    piece = (p + threads - 1) // threads
    first = min(me * piece, p)
    count = min(p - first, piece)
    c0, c1 = me * c // threads, (me + 1) * c // threads
    sums_, z_, h_, s_ = float32_at(sums), float32_at(z), float32_at(h), float32_at(s)
    size = 2 if narrow else 4
    sum_rows(narrow, x + size * first * row, row, count, c, sums_, me * c)
    clear(h_, me * hidden, me * hidden + hidden)
    barrier()
    _means(sums_, threads, c, p, c0, c1, z_)
    _add_products(z_, c0, c1, float32_at(w1), hidden, 0, hidden, h_, me * hidden)
    barrier()
    mine = (threads + me) * hidden  # every thread computes all hidden units, which is faster than a barrier
    _hidden(h_, threads, hidden, float32_at(b1), h_, mine)
    clear(s_, c0, c1)
    clear(z_, c0, c1)
    _add_products(float32_at(h + 4 * mine), 0, hidden, float32_at(w2), c, c0, c1, s_, 0)
    _sigmoid(s_, float32_at(b2), types.float32(factor), c0, c1)
    barrier()
    # The workspace of the means now holds zeros, which scale_rows adds to s x.
    added = shortcut + size * first * s_row if shortcut else 0
    scale_rows(narrow, x + size * first * row, row, added, s_row, y + size * first * y_row, y_row,
               count, c, s_, z_, relu != 0)  # fmt: skip
