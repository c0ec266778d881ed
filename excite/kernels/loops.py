"""The passes as loops that numba compiles for this processor; no C compiler is needed.

Memory is reached by address. A map of N images, P rows each, C channels a row is cut into N x parts pieces of
rows; each thread takes every so-manieth piece. Sums are left one a piece, to be added up by the caller, so
that they do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
from typing import Any

from llvmlite import binding
from numba import carray, cfunc, njit, types

from excite.kernels.memory import bfloat16_at, float32_at, load, store
from excite.kernels.threads import openmp

_library = openmp()
if _library is not None:
    _address = ctypes.cast(_library.omp_get_thread_num, ctypes.c_void_p).value
    binding.add_symbol("excite_thread_number", _address)
thread_number = types.ExternalFunction("excite_thread_number", types.int32())

TASK = types.void(types.CPointer(types.int64))
inner = njit(cache=True, inline="never", fastmath={"contract", "nsz"}, error_model="numpy")


@inner
def _sums(x: Any, row: int, first: int, last: int, c: int, k: Any, ones: Any, squares: Any, at: int) -> None:
    for i in range(c):
        store(ones, at + i, 0.0)
        store(squares, at + i, 0.0)
    r = first
    while r < last:
        many = min(4, last - r)
        x0 = r * row
        # Four rows at a time, so that the sums are fetched and put back once for four.
        if many == 4:
            x1, x2, x3 = x0 + row, x0 + 2 * row, x0 + 3 * row
            for i in range(c):
                m = load(k, i)
                u, v, w, z = load(x, x0 + i) - m, load(x, x1 + i) - m, load(x, x2 + i) - m, load(x, x3 + i) - m
                store(ones, at + i, load(ones, at + i) + ((u + v) + (w + z)))
                store(squares, at + i, load(squares, at + i) + ((u * u + v * v) + (w * w + z * z)))
        else:
            for one in range(many):
                for i in range(c):
                    u = load(x, x0 + one * row + i) - load(k, i)
                    store(ones, at + i, load(ones, at + i) + u)
                    store(squares, at + i, load(squares, at + i) + u * u)
        r += many


@cfunc(TASK, cache=True)
def sums(arguments: Any) -> None:
    given = carray(arguments, 16)
    threads, narrow, n, p, c, parts, x, image, row, k, ones, squares = given[:12]
    piece = (p + parts - 1) // parts
    for item in range(thread_number(), n * parts, threads):
        first = item % parts * piece
        last = min(p, first + piece)
        start = item // parts * image
        if narrow:
            _sums(
                bfloat16_at(x + 2 * start), row, first, last, c,
                float32_at(k), float32_at(ones), float32_at(squares), item * c,
            )
        else:
            _sums(
                float32_at(x + 4 * start), row, first, last, c,
                float32_at(k), float32_at(ones), float32_at(squares), item * c,
            )
