"""Turn Ctrl-C and SIGTERM into a request to stop, which the training loop checks between steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from excite.errors import INTERRUPTED, TERMINATED

EXIT_CODES: dict[int, int] = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}


@dataclass
class StopRequest:
    """A request to stop: ``exit_code`` is that of the signal, or 0 if there was none."""

    exit_code: int = 0


@contextmanager
def stop_requests(announce: Callable[[], None] = lambda: None) -> Iterator[StopRequest]:
    """Collect signals in the ``with`` block; a second signal of the same kind has its usual effect.

    Args:
        announce: called when a signal arrives, to tell the user that it was heard.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # only it may set signal handlers
        yield request
        return
    before = {number: signal.getsignal(number) for number in EXIT_CODES}

    def note(number: int, frame: FrameType | None) -> None:
        request.exit_code = EXIT_CODES[number]
        signal.signal(number, before[number])
        with suppress(RuntimeError):  # the signal interrupted another line being printed
            announce()

    for number in EXIT_CODES:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
