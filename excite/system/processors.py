"""The number of processors that this process may use."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of processor time in each period


def available_processors() -> int:
    """Processors by affinity, by the quota of the container, and by OMP_NUM_THREADS; at least 1.

    Libraries that count the machine's processors start threads in a container that wait for each other.
    """
    counts = [_affinity()]
    with contextlib.suppress(OSError, ValueError):  # no Linux, or another kind of cgroup
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        counts.append(math.ceil(int(quota) / int(period)))
    with contextlib.suppress(ValueError):
        counts.append(int(os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]))
    return max(1, min(counts))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
