"""Keep the memory that a network frees in the process, since it is soon allocated again."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

# Constants of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST_INT = 2**31 - 1


@cache
def keep_heap() -> bool:
    """Let the C library reuse large blocks instead of returning them to the system when they are freed.

    By default, glibc maps every block of 32 MiB or more separately: each layer's output has new pages, which
    the kernel clears one by one. A MobileNet's forward pass of 32 images at 224 pixels takes 200,000 page
    faults and 0.60 s on one core, and 0.25 s without them (``benchmarks/memory.py``). In return, the process
    keeps all memory that it has used.

    Returns:
        whether the settings were changed: False for other C libraries, if ``MALLOC_...`` or
        ``GLIBC_TUNABLES`` are set, and with ``EXCITE_KEEP_MEMORY=off``.
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
