"""The first signal is a request, the second one acts, and handlers are restored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from excite.system.signals import stop_requests


@pytest.fixture(autouse=True)
def _python_minds_ctrl_c() -> Iterator[None]:
    """A shell's background jobs ignore Ctrl-C, and so does what they start; these tests need the handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_becomes_an_exit_code_and_interrupts_nothing(number: int, code: int) -> None:
    with stop_requests() as request:
        assert request.exit_code == 0
        os.kill(os.getpid(), number)
        assert request.exit_code == code == 128 + number


def test_handlers_are_restored_also_after_an_error() -> None:
    def mine(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with pytest.raises(ValueError), stop_requests():  # noqa: PT012
            os.kill(os.getpid(), signal.SIGTERM)
            raise ValueError
        assert signal.getsignal(signal.SIGTERM) is mine
        with stop_requests():
            pass
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_stops_at_once() -> None:
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert request.exit_code == 130


def test_a_second_sigterm_ends_the_process() -> None:
    code = (
        "import os, signal\n"
        "from excite.system.signals import stop_requests\n"
        "with stop_requests():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('still here', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('never')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == "still here\n"


def test_nested_blocks_get_their_own_signals() -> None:
    with stop_requests() as outer:
        with stop_requests() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
        assert (outer.exit_code, inner.exit_code) == (0, 143)
        os.kill(os.getpid(), signal.SIGINT)
        assert outer.exit_code == 130


def test_in_another_thread_it_changes_no_handler() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with stop_requests() as request:
            seen.append((request.exit_code, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(0, before)]
