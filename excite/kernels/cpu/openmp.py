"""Run compiled loops on PyTorch's own threads.

A second thread pool would compete with PyTorch's for the cores: an idle thread spins for some milliseconds
before it sleeps, as long as a whole kernel takes. So the OpenMP library that PyTorch has loaded starts the
kernels, on the same threads as PyTorch's operators.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

# With fewer elements, a second thread costs more time than it saves.
MIN_ELEMENTS_PER_THREAD = 1 << 14


@cache
def openmp() -> ctypes.CDLL | None:
    """PyTorch's OpenMP library, if it can start a compiled function on its threads; else None."""
    folder = Path(torch.__file__).parent
    names = ("libgomp*.so*", "libomp.dylib", "libiomp5.so")
    places = [folder / "lib", folder.parent / "torch.libs"]
    for path in (file for place in places for name in names for file in sorted(place.glob(name))):
        try:
            library = ctypes.CDLL(str(path))
            library.GOMP_parallel.argtypes = [
                ctypes.c_void_p,
                ctypes.c_void_p,
                ctypes.c_uint,
                ctypes.c_uint,
            ]
            library.GOMP_parallel.restype = None
            for needed in (library.omp_get_thread_num, library.GOMP_barrier):
                ctypes.cast(needed, ctypes.c_void_p)
        except (OSError, AttributeError):
            continue
        return library
    return None


def threads_for(numbers: int) -> int:
    """The number of threads for a loop over this many elements."""
    return torch.get_num_threads() if numbers > MIN_ELEMENTS_PER_THREAD else 1


def run(address: int, arguments: Sequence[int], *, numbers: int) -> None:
    """Call ``void task(int64_t *arguments)`` on each thread.

    The task reads the number of threads from ``arguments[0]`` and its own number from OpenMP.

    Args:
        address: of the compiled task.
        arguments: what follows the number of threads.
        numbers: number of elements of the loop, which determines the number of threads.
    """
    threads = threads_for(numbers)
    packed = array("q", [threads, *arguments])  # faster than a NumPy array for a few numbers
    library = openmp()
    assert library is not None
    library.GOMP_parallel(address, packed.buffer_info()[0], threads, 0)
