"""Waiting for what nobody announces: files of processes that have no pipe to us, threads that are ending.

Where there is a pipe, an event, or a process to wait for, tests wait for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], bool], seconds: float = 120.0) -> bool:
    """Wait until the condition holds, at most this long; return whether it does."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
