"""Compiled loops on the threads that PyTorch works with.

A second pool of threads beside PyTorch's would fight it for the cores: a thread that has nothing to do spins
for some milliseconds before it sleeps, which is as long as a whole kernel takes. So kernels are started by
the OpenMP library that PyTorch has loaded, and run on the very threads of its own operators.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

# Below this many numbers a second thread costs more than it saves.
MIN_ELEMENTS_PER_THREAD = 1 << 14


@cache
def openmp() -> ctypes.CDLL | None:
    """PyTorch's OpenMP library, if it can start a compiled function on its threads; else None."""
    folder = Path(torch.__file__).parent
    names = ("libgomp*.so*", "libomp.dylib", "libiomp5.so")
    places = [folder / "lib", folder.parent / "torch.libs"]
    for path in (found for place in places for name in names for found in sorted(place.glob(name))):
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
    """How many threads work through so many numbers."""
    return torch.get_num_threads() if numbers > MIN_ELEMENTS_PER_THREAD else 1


def run(address: int, arguments: Sequence[int], *, numbers: int) -> None:
    """Call ``void task(int64_t *arguments)`` on each thread; ``numbers`` is how many it works through.

    The task finds the count of threads in ``arguments[0]`` and asks OpenMP for its own number.
    """
    threads = threads_for(numbers)
    packed = array("q", [threads, *arguments])  # cheaper than NumPy's for a few numbers
    library = openmp()
    assert library is not None
    library.GOMP_parallel(address, packed.buffer_info()[0], threads, 0)
