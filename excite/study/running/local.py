"""The driver on this machine: starts workers, shows progress, replaces workers that die."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import torch

from excite.errors import ExciteError
from excite.study.running.live_table import LiveTable
from excite.study.running.worker_options import NO_OPTIONS, WorkerOptions
from excite.study.store.leases import LEASE
from excite.study.store.schema import FAILED, RUNNING, WAITING
from excite.study.study import Study, cell_folder
from excite.system.devices import choose_device
from excite.system.peak_memory import free_memory
from excite.system.signals import StopRequest, stop_requests
from excite.system.text import command_line

LOOK = 0.5  # seconds between checks of workers and cells
MOST_DEATHS = 10  # consecutive deaths of workers without a finished cell
FAREWELL = 60.0  # seconds for workers to save a checkpoint
RESERVE = 1.25  # factor on the measured memory of a cell


@dataclass(frozen=True)
class WorkerPool:
    """The device of each worker, and the number of threads per worker."""

    devices: tuple[str, ...]
    threads: int

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''} each"
        workers = f"{len(self.devices)} worker{'s' if len(self.devices) > 1 else ''}"
        return f"{workers} ({'one per GPU' if self.devices[0].startswith('cuda') else threads})"


def choose_pool(device: str, jobs: int | None, memory: int | None, cells: int) -> WorkerPool:
    """One worker per GPU; on a CPU, as many as the cores and the memory allow.

    Args:
        device: device option of the study.
        jobs: requested number of workers; None: as many as fit.
        memory: memory of a worker in bytes; None: unknown.
        cells: number of remaining cells, the maximum number of workers.
    """
    chosen = choose_device(device)
    if chosen.type == "cuda":
        gpus = [device] if ":" in device else [f"cuda:{n}" for n in range(torch.cuda.device_count())]
        count = jobs or len(gpus)
        return WorkerPool(
            tuple(gpus[n % len(gpus)] for n in range(max(1, min(count, cells)))), torch.get_num_threads()
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fit = cores
    if jobs is None and memory and (free := free_memory()):
        fit = max(1, min(cores, int(free / (RESERVE * memory))))
    count = max(1, min(jobs or fit, cells))
    # The number of threads does not depend on the remaining cells: it can change the last bit of a result.
    return WorkerPool((chosen.type,) * count, max(1, cores // (jobs or fit)))


def run_here(
    study: Study,
    pool: WorkerPool,
    live_table: LiveTable,
    *,
    lease_seconds: float = LEASE,
    options: WorkerOptions = NO_OPTIONS,
) -> None:
    """Train all remaining cells, and wait for cells of other drivers.

    Raises:
        ExciteError: when asked to stop, if workers keep dying, and if cells have failed; finished cells are
            kept.
    """
    with stop_requests() as request, _workers(study, pool, lease_seconds, options) as workers:
        deaths, done = 0, -1
        while True:
            counts = study.store.counts(study.name)
            live_table.show(study)
            if counts["done"] != done:
                deaths, done = 0, counts["done"]
            if not counts[WAITING] + counts[RUNNING]:
                break
            deaths += sum(worker.supervise() for worker in workers)
            if deaths >= MOST_DEATHS:
                log = workers[0].log
                raise ExciteError("workers die right after they start", where=log, hint=_last_line(log))
            stop_if_asked(request, study)
            time.sleep(LOOK)
        live_table.show(study)
    refuse_failed(study)


def refuse_failed(study: Study) -> None:
    """Raises: ExciteError with a failed cell and its log, if there is one."""
    failed = [cell for cell in study.store.cells(study.name) if cell.state == FAILED]
    if failed:
        from excite.study.running.worker import log_of

        first = failed[0]
        log = log_of(cell_folder(study.folder, first.arm, first.seed, first.fold))
        more = f"{len(failed)} cells" if len(failed) > 1 else "1 cell"
        what = f"{more} failed twice, for example {first.arm} with seed {first.seed}: {first.error}"
        raise ExciteError(what, where=log, hint=f"fix the cause, then: {_resume(study)}")


def worker_name(number: int) -> str:
    """A unique name of a worker, which contains the name of the machine."""
    return f"{socket.gethostname()}-{os.getpid()}-{number}-{uuid.uuid4().hex[:8]}"


@dataclass
class _Worker:
    """A worker process; restarted with a new name if it dies."""

    study: Study
    number: int
    device: str
    threads: int
    lease_seconds: float
    options: WorkerOptions
    name: str = ""
    process: subprocess.Popen[bytes] | None = None
    stream: TextIO | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        return self.study.folder / f"worker-{self.number}.log"

    def start(self) -> None:
        self.name = worker_name(self.number)
        call = [sys.executable, "-m", "excite.study.running.worker", str(self.study.folder)]
        call += [self.device, str(self.threads), self.name, str(self.lease_seconds), self.options.to_json()]
        if self.stream is None:
            self.stream = self.log.open("a", encoding="utf-8")
        self.process = subprocess.Popen(
            call,
            env={**_environment(self.threads), "EXCITE_STORE": self.study.store.url},
            stdin=subprocess.PIPE,
            stdout=self.stream,
            stderr=self.stream,
        )

    def supervise(self) -> bool:
        """Restart the process if it ended and cells are waiting; True if it died."""
        if self.process is not None and self.process.poll() is None:
            return False
        died = self.process is not None and self.process.returncode != 0
        if died:
            self.study.store.release_all(self.study.name, self.name)
        if died or self.study.store.counts(self.study.name)[WAITING]:
            self.start()
        return died

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def end(self) -> None:
        if self.process is not None:
            try:
                self.process.wait(FAREWELL)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            if self.process.stdin is not None:
                self.process.stdin.close()
            if self.process.returncode != 0:
                with contextlib.suppress(ExciteError):
                    self.study.store.release_all(self.study.name, self.name)
        if self.stream is not None:
            self.stream.close()


@contextlib.contextmanager
def _workers(
    study: Study, pool: WorkerPool, lease_seconds: float, options: WorkerOptions
) -> Iterator[list[_Worker]]:
    workers = [
        _Worker(study, number, device, pool.threads, lease_seconds, options)
        for number, device in enumerate(pool.devices, start=1)
    ]
    try:
        for worker in workers:
            worker.start()
        yield workers
    except BaseException:
        for worker in workers:
            worker.ask_to_stop()
        raise
    finally:
        for worker in workers:
            worker.end()


def _environment(threads: int) -> Mapping[str, str]:
    """The environment of a worker: without the variables of torchrun, with the number of threads."""
    own = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return {
        **own,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONIOENCODING": "utf-8",
    }


def stop_if_asked(request: StopRequest, study: Study) -> None:
    """Raises: ExciteError with the command that resumes the study, if this process was asked to stop."""
    if request.exit_code:
        counts = study.store.counts(study.name)
        raise ExciteError(
            f"stopped with {counts['done']} of {sum(counts.values())} cells done; nothing is lost",
            hint=f"resume with: {_resume(study)}",
            exit_code=request.exit_code,
        )


def _resume(study: Study) -> str:
    return command_line("excite", "study", "resume", study.folder)


def _last_line(log: Path) -> str | None:
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else None
    return None
