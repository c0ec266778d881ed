"""Ctrl-C and SIGTERM as a request that the loop grants between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from excite.errors import INTERRUPTED, TERMINATED

EXIT_CODES: dict[int, int] = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}


@dataclass
class StopRequest:
    """Whether somebody asked this process to stop: 0, or the exit code to end with."""

    exit_code: int = 0


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Collect signals inside the block; a second one of a kind acts at once, as it would outside."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers in no other
        yield request
        return
    before = {number: signal.getsignal(number) for number in EXIT_CODES}

    def note(number: int, frame: FrameType | None) -> None:
        request.exit_code = EXIT_CODES[number]
        signal.signal(number, before[number])

    for number in EXIT_CODES:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
