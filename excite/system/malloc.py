"""Memory that a network frees and asks for again a moment later stays in the process."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST_INT = 2**31 - 1


@cache
def keep_heap() -> bool:
    """Have the C library reuse large blocks instead of giving each back to the system when it is freed.

    By default glibc maps every block of 32 MiB or more anew: each layer's output comes as fresh pages, which
    the kernel clears one by one. A MobileNet's forward pass of 32 images at 224 pixels takes 200,000 page
    faults and 0.60 s of one core, and 0.25 s without them (``benchmarks/memory.py``). The price is that
    memory once used stays with the process.

    Returns:
        whether it was done: not on other C libraries, not where the user has set ``MALLOC_...`` or
        ``GLIBC_TUNABLES``, and not with ``EXCITE_KEEP_MEMORY=off``.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    if chosen or os.environ.get("EXCITE_KEEP_MEMORY") == "off" or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST_INT), (_TOP_PAD, 64 * 2**20))
    return all(mallopt(number, value) for number, value in settings)
