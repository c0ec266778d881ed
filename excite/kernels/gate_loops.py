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

from excite.kernels.loops import _ones, _scale, _scale_add, compiled, task, thread_number
from excite.kernels.memory import bfloat16_at, fetch, float32_at, load, store
from excite.kernels.threads import openmp

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
def _product(x: Any, many: int, w: Any, wide: int, b: Any, first: int, last: int, out: Any) -> None:
    """out = b + sum over i of x_i w_i, with w (many, wide): the inner loop runs along rows of w."""
    for j in range(first, last):
        store(out, j, load(b, j))
    for i in range(many):
        at, by = i * wide, fetch(x, i)
        for j in range(first, last):
            store(out, j, fetch(out, j) + by * load(w, at + j))


@compiled
def _clear(x: Any, first: int, last: int) -> None:
    for i in range(first, last):
        store(x, i, 0.0)


@compiled
def _relu(x: Any, first: int, last: int) -> None:
    for i in range(first, last):
        store(x, i, max(fetch(x, i), types.float32(0)))


@compiled
def _sigmoid(x: Any, factor: float, first: int, last: int) -> None:
    for i in range(first, last):
        store(x, i, factor / (1 + math.exp(-fetch(x, i))))


@task
def squeeze_excite(arguments: Any) -> None:
    """threads, narrow, p, c, hidden; x, row; w1 (c, hidden), b1, w2 (hidden, c), b2, factor; room for sums
    (threads, c), means (c), hidden units; s (c); shortcut or 0, row; y, row; relu. Of one image."""
    (threads, narrow, p, c, hidden, x, row, w1, b1, w2, b2, factor, sums, z, h, s, shortcut, s_row,
     y, y_row, relu) = carray(arguments, 21)  # fmt: skip
    me = thread_number()
    piece = (p + threads - 1) // threads
    first = min(me * piece, p)
    count = min(p - first, piece)
    c0, c1 = me * c // threads, (me + 1) * c // threads
    h0, h1 = me * hidden // threads, (me + 1) * hidden // threads
    sums_, z_, h_, s_ = float32_at(sums), float32_at(z), float32_at(h), float32_at(s)
    for i in range(me * c, me * c + c):
        store(sums_, i, 0.0)
    if narrow:
        _ones(bfloat16_at(x + 2 * first * row), row, count, c, sums_, me * c)
    else:
        _ones(float32_at(x + 4 * first * row), row, count, c, sums_, me * c)
    barrier()
    _means(sums_, threads, c, p, c0, c1, z_)
    barrier()
    _product(z_, c, float32_at(w1), hidden, float32_at(b1), h0, h1, h_)
    _relu(h_, h0, h1)
    barrier()
    _clear(z_, c0, c1)
    _product(h_, hidden, float32_at(w2), c, float32_at(b2), c0, c1, s_)
    _sigmoid(s_, types.float32(factor), c0, c1)
    barrier()
    # What held the means holds the zeros that are added to s x.
    zero_ = z_
    x_at, s_at, y_at = first * row, first * s_row, first * y_row
    if narrow:
        x2, y2 = bfloat16_at(x + 2 * x_at), bfloat16_at(y + 2 * y_at)
        if shortcut:
            from_ = bfloat16_at(shortcut + 2 * s_at)
            _scale_add(x2, row, from_, s_row, y2, y_row, count, c, s_, zero_, relu != 0)
        else:
            _scale(x2, row, y2, y_row, count, c, s_, zero_, relu != 0)
    else:
        x4, y4 = float32_at(x + 4 * x_at), float32_at(y + 4 * y_at)
        if shortcut:
            from4 = float32_at(shortcut + 4 * s_at)
            _scale_add(x4, row, from4, s_row, y4, y_row, count, c, s_, zero_, relu != 0)
        else:
            _scale(x4, row, y4, y_row, count, c, s_, zero_, relu != 0)
