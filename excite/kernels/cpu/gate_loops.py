"""Squeeze, excitation, scale, shortcut and ReLU of a few images in one call, compiled by numba.

What takes time for one image is not the arithmetic but starting operators: means, two products, a curve and
a scale are some 0.1 ms together, which here is one start of the threads. They share out the rows of the map,
then its channels and hidden units, and wait for each other between.
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
    """out[at + j] += sum over i of x_i w_ij, i from start to stop, j from first to last, with w of rows of
    ``wide``: four rows at a time, as many streams from memory, and sums are fetched once for four."""
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
    """ReLU(b + the threads' sums)."""
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
    """threads, narrow, p, c, hidden; x, row; w1 (c, hidden), b1, w2 (hidden, c), b2, factor; room for sums
    (threads, c), means (c), hidden units of each thread, twice; s (c); shortcut or 0, row; y, row; relu. Of
    one image."""
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
    mine = (threads + me) * hidden  # every thread makes all hidden units: that is less than to wait for them
    _hidden(h_, threads, hidden, float32_at(b1), h_, mine)
    clear(s_, c0, c1)
    clear(z_, c0, c1)
    _add_products(float32_at(h + 4 * mine), 0, hidden, float32_at(w2), c, c0, c1, s_, 0)
    _sigmoid(s_, float32_at(b2), types.float32(factor), c0, c1)
    barrier()
    # What held the means holds the zeros that are added to s x.
    added = shortcut + size * first * s_row if shortcut else 0
    scale_rows(narrow, x + size * first * row, row, added, s_row, y + size * first * y_row, y_row,
               count, c, s_, z_, relu != 0)  # fmt: skip
