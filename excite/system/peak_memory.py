"""Peak memory of a training: allocated GPU memory, or the growth of this process."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import psutil
import torch

_PROCESS = Path("/proc/self")
_CGROUP = Path("/sys/fs/cgroup")


def reset_peak_memory(device: str) -> None:
    """Start measuring; if the system cannot reset the peak, it counts from the start of the process."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")


def peak_memory(device: str, base: int = 0) -> int | None:
    """Peak memory in bytes since the last reset; None if the system does not provide it.

    Args:
        base: bytes that the process used before its first training, mostly for libraries.
    """
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    peak = _linux_peak() or _peak_of_process()
    return None if peak is None else max(peak - base, 0)


def held_memory() -> int:
    """Bytes that this process uses now."""
    return int(psutil.Process().memory_info().rss)


def free_memory() -> int:
    """Free memory of this machine or container in bytes."""
    left = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no Linux, no container, or one without a limit
        most = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        left = min(left, most - used)
    return max(left, 0)


def _linux_peak() -> int | None:
    """The peak since the last reset."""
    with contextlib.suppress(OSError, IndexError, ValueError, StopIteration):
        lines = (_PROCESS / "status").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return None


def _peak_of_process() -> int | None:
    """The peak since the process began, on Windows and macOS."""
    if (peak := getattr(psutil.Process().memory_info(), "peak_wset", None)) is not None:
        return int(peak)
    try:
        import resource
    except ImportError:
        return None
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(kibibytes) if sys.platform == "darwin" else 1024 * int(kibibytes)  # macOS counts bytes
