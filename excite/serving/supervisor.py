"""The parent of the workers: it owns the socket, replaces workers, and passes on signals. It has no library.

It needs a POSIX system, whose processes inherit sockets; elsewhere ``excite.serving.alone`` serves.

SIGTERM and SIGINT: workers answer what they accepted, and end. SIGHUP: new workers load the file as it is;
as soon as all are ready they take over, and the old ones end after their last answer. If one cannot load the
file, the old workers stay. A worker that dies is replaced.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from excite.errors import ExciteError
from excite.serving.listening import announce, listening, print_to_log
from excite.serving.notify import notify
from excite.serving.settings import Inherited, Settings

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD") if hasattr(signal, name)
)
LONGEST_DELAY = 10.0  # seconds between attempts to replace a worker


class Worker:
    """A process, and what it has reported.

    Args:
        process: the process.
        report: end of its pipe.
        generation: number of the reload that started it.
    """

    def __init__(self, process: subprocess.Popen[bytes], report: int, generation: int) -> None:
        self.process, self.report, self.generation = process, report, generation
        self.ready = False
        self.error: ExciteError | None = None
        self.kill_at: float | None = None  # set when it was asked to stop

    def stop(self, grace: float) -> None:
        """Ask it to stop, once."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + grace
            self.process.terminate()

    def read_report(self) -> None:
        """What it wrote: that it is ready, or its error; nothing if it died."""
        with suppress(OSError):
            text = os.read(self.report, 65536)
            document = json.loads(text) if text else {}
            self.ready = "ready" in document
            if "error" in document:
                self.error = ExciteError(document["error"], where=document["where"], hint=document["hint"])
        os.close(self.report)
        self.report = -1  # its number will be that of another file


class Supervisor:
    """Runs the workers of a service until a signal.

    Args:
        settings: of the service.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.workers: list[Worker] = []
        self.generation = 0
        self.stopping = False
        self.announced = False
        self._failures, self._retry_at = 0, 0.0
        self._has_terminal = sys.stdin is not None and sys.stdin.isatty()

    def run(self) -> int:
        """Serve; returns the exit code. Raises: ExciteError if the service cannot start."""
        with listening(self.settings) as self.listener, _signals() as self._wakeup, self._metrics_folder():
            self._lifeline, self._lifeline_end = os.pipe()
            with selectors.DefaultSelector() as self._selector:
                self._selector.register(self._wakeup, selectors.EVENT_READ)
                try:
                    for _ in range(self.settings.workers):
                        self._start()
                    while self.workers or not self.stopping:
                        self._step()
                finally:
                    self._kill_all()
                    os.close(self._lifeline)
                    os.close(self._lifeline_end)
        return 0

    def _step(self) -> None:
        for key, _ in self._selector.select(self._timeout()):
            if key.data is None:
                for number in self._wakeup.recv(4096):
                    self._handle(number)
            else:
                self._selector.unregister(key.fd)
                key.data.read_report()
                self._take_over(key.data)
        self._reap()
        self._kill_late()
        if not self.stopping and self._missing and time.monotonic() >= self._retry_at:
            self._start()

    def _timeout(self) -> float | None:
        times = [worker.kill_at for worker in self.workers if worker.kill_at is not None]
        if not self.stopping and self._missing:
            times.append(self._retry_at)
        return max(0.0, min(times) - time.monotonic()) if times else None

    @property
    def _missing(self) -> bool:
        return self.announced and sum(w.kill_at is None for w in self.workers) < self.settings.workers

    def _start(self) -> None:
        reading, writing = os.pipe()
        inherited = Inherited(self.listener.fileno(), writing, self._lifeline, self.settings.to_json())
        process = subprocess.Popen(
            # -P: no module in the working directory takes the place of a library
            [sys.executable, "-P", "-m", "excite.serving.worker", inherited.to_json()],
            env={**os.environ, **_memory_options()},
            stdin=subprocess.DEVNULL,
            pass_fds=(inherited.listener, writing, self._lifeline),
            start_new_session=True,  # Ctrl-C in a terminal reaches the supervisor alone
        )
        os.close(writing)
        worker = Worker(process, reading, self.generation)
        self.workers.append(worker)
        self._selector.register(reading, selectors.EVENT_READ, worker)

    def _handle(self, number: int) -> None:
        if number == signal.SIGHUP and not self._terminal_is_gone():
            self._reload()
        elif number == signal.SIGINT and self.stopping:
            self._kill_all()
        elif number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.stopping = True
            self.listener.close()  # connections that no worker will accept are refused, rather than lost
            notify("STOPPING=1")
            for worker in self.workers:
                worker.stop(self.settings.grace)

    def _reload(self) -> None:
        if self.stopping or not self.announced:
            return
        for worker in self.workers:
            if not worker.ready:  # an earlier reload that is not finished
                worker.stop(0)
        self.generation += 1
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        for _ in range(self.settings.workers):
            self._start()

    def _take_over(self, worker: Worker) -> None:
        """After a report: the new workers replace the old ones once all are ready."""
        if not worker.ready or self.stopping or worker.kill_at is not None:
            return
        current = [each for each in self.workers if each.generation == self.generation]
        if not all(each.ready for each in current):
            return
        self._failures = 0
        for each in self.workers:
            if each.generation < self.generation:
                each.stop(self.settings.grace)
        self._announce()

    def _announce(self) -> None:
        notify(f"READY=1\nMAINPID={os.getpid()}")
        if self.announced:
            print_to_log(f"serving {self.settings.file} as it is now")
            return
        self.announced = True
        announce(self.settings, self.listener)

    def _reap(self) -> None:
        for worker in [each for each in self.workers if each.process.poll() is not None]:
            self.workers.remove(worker)
            if worker.report >= 0:
                self._selector.unregister(worker.report)
                worker.read_report()
            self._forget_metrics(worker.process.pid)
            if worker.kill_at is None:
                self._failed(worker)

    def _failed(self, worker: Worker) -> None:
        """A worker ended by itself."""
        reason = worker.error or ExciteError(f"a worker ended with code {worker.process.returncode}")
        if not self.announced:
            raise reason
        print_to_log(str(reason), error=True)
        old = [each for each in self.workers if each.generation < worker.generation and each.kill_at is None]
        if old:  # a reload failed: those that serve stay
            for each in self.workers:
                if each.generation == worker.generation:
                    each.stop(0)
            for each in old:
                each.generation = self.generation
            notify("READY=1")
            return
        self._failures += 1
        self._retry_at = time.monotonic() + min(0.1 * 2**self._failures, LONGEST_DELAY)

    def _kill_late(self) -> None:
        now = time.monotonic()
        for worker in self.workers:
            if worker.kill_at is not None and now >= worker.kill_at:
                worker.process.kill()
                worker.kill_at = now + 1  # look again, if the system takes its time

    def _kill_all(self) -> None:
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.wait()

    def _terminal_is_gone(self) -> bool:
        """Whether SIGHUP has its old meaning: the terminal was closed."""
        if not self._has_terminal:
            return False
        try:
            os.tcgetpgrp(sys.stdin.fileno())
        except (OSError, ValueError):
            return True
        return False

    @contextmanager
    def _metrics_folder(self) -> Iterator[None]:
        """Where several workers share their metrics; one keeps them in memory."""
        self._metrics: Path | None = None
        os.environ.pop(METRICS_FOLDER, None)
        if self.settings.workers == 1:
            yield
            return
        self._metrics = Path(tempfile.mkdtemp(prefix="excite-metrics-"))
        os.environ[METRICS_FOLDER] = str(self._metrics)
        try:
            yield
        finally:
            del os.environ[METRICS_FOLDER]
            shutil.rmtree(self._metrics, ignore_errors=True)

    def _forget_metrics(self, pid: int) -> None:
        """Counters of a worker that ended still count; its gauges do not."""
        if self._metrics is not None:
            for file in self._metrics.glob(f"gauge_live*_{pid}.db"):
                file.unlink(missing_ok=True)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that receives the number of each signal."""
    reading, writing = socket.socketpair()
    writing.setblocking(False)

    def ignore(number: int, frame: FrameType | None) -> None:
        """The number arrives through the socket."""

    before = {number: signal.signal(number, ignore) for number in SIGNALS}
    old = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        reading.close()
        writing.close()


def _memory_options() -> dict[str, str]:
    """Images of different size come and go in several threads: what is free goes back to the system."""
    large = str(2**20)
    return {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": large, "MALLOC_MMAP_THRESHOLD_": large}
