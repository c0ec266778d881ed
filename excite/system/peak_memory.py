"""Peak memory of a training: allocated GPU memory, or the growth of this process."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


def reset_peak_memory(device: str) -> None:
    """Start measuring; if the system cannot reset the peak, it counts from the start of the process."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")


def peak_memory(device: str, base: int = 0) -> int | None:
    """Peak memory in bytes since the last reset; None if the system does not provide it.

    Args:
        base: bytes that the process used before its first training, mostly for libraries.
    """
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    peak = _status("VmHWM")
    return None if peak is None else max(peak - base, 0)


def held_memory() -> int:
    """Bytes that this process uses now; 0 if the system does not provide it."""
    return _status("VmRSS") or 0


def _status(name: str) -> int | None:
    with contextlib.suppress(OSError, IndexError, ValueError, StopIteration):
        lines = (_PROCESS / "status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
    return None


def free_memory() -> int | None:
    """Free memory of this machine or container in bytes; None if the system does not provide it."""
    with contextlib.suppress(OSError, ValueError):
        page = os.sysconf("SC_PAGE_SIZE")
        left = os.sysconf("SC_AVPHYS_PAGES") * page
        with contextlib.suppress(OSError, StopIteration):
            lines = Path("/proc/meminfo").read_text().splitlines()
            left = 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
        with contextlib.suppress(OSError, ValueError):
            most = int(Path("/sys/fs/cgroup/memory.max").read_text())
            used = int(Path("/sys/fs/cgroup/memory.current").read_text())
            left = min(left, most - used)
        return max(left, 0)
    return None
