"""A worker: trains cells of a study until none is left; a study can have several workers.

    EXCITE_STORE=URL python -m excite.study.running.worker FOLDER DEVICE THREADS NAME LEASE OPTIONS

It imports libraries and loads data only once. If its driver dies, which closes standard input, it stops at
the next step; another worker resumes its cell from there.
"""

from __future__ import annotations

import _thread
import contextlib
import io
import os
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from rich.console import Console

from excite.config.train_config import TrainConfig
from excite.errors import INTERRUPTED, TERMINATED, ExciteError
from excite.evaluation.metrics import OVERALL
from excite.pipeline.experiment import run_experiment
from excite.runs.run import Run
from excite.study.running.worker_options import NO_OPTIONS, WorkerOptions
from excite.study.store.leases import LEASE, Lease
from excite.study.store.schema import RUNNING, WAITING
from excite.study.study import Study, cell_folder
from excite.system.peak_memory import held_memory, peak_memory, reset_peak_memory
from excite.system.progress import ConsoleDisplay
from excite.system.text import printable

STOPPED = (INTERRUPTED, TERMINATED)
STORE = (
    "EXCITE_STORE"  # not an argument: a URL may contain a password, and arguments are visible to other users
)
IDLE = 0.5  # seconds between attempts to take a cell while other workers train the last ones


def work(
    study: Study,
    *,
    device: str,
    threads: int,
    name: str,
    lease_seconds: float = LEASE,
    node: str | None = None,
    options: WorkerOptions = NO_OPTIONS,
) -> None:
    """Train cells until none is left.

    Args:
        study: the study.
        device: device to train on.
        threads: number of threads of PyTorch.
        name: unique name of the worker, for its driver.
        lease_seconds: seconds after which the lease expires without a heartbeat.
        node: node of a cluster, to display.
        options: the user's modules and trackers.

    Raises:
        ExciteError: if this process is asked to stop, or the store or the disk fails; the current cell is
            released.
    """
    options.load()
    torch.set_num_threads(threads)
    base = held_memory()
    where = [socket.gethostname(), *([f"node {node}"] if node else []), f"process {os.getpid()}"]
    worker = f"{name}@{', '.join(where)}"
    while True:
        lease = study.store.take(study.name, f"{name} {uuid.uuid4().hex}", worker, lease_seconds)
        if lease is None:
            counts = study.store.counts(study.name)
            if not counts[WAITING] + counts[RUNNING]:
                return
            time.sleep(IDLE)
            continue
        with _heartbeat(study, lease, lease_seconds):
            _do(study, lease, device, options, base)


def _do(study: Study, lease: Lease, device: str, options: WorkerOptions, base: int) -> None:
    place = cell_folder(study.folder, *lease.key)
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place.with_name(f".{place.name}.lock"), timeout=0):
            result, numbers, probabilities = train_cell(study, lease, device, options, base)
    except Timeout:  # a worker that lost the cell still trains it
        study.store.release(study.name, lease)
        time.sleep(2 * IDLE)
        return
    except ExciteError as error:
        if error.exit_code in STOPPED or _is_full(error):
            study.store.release(study.name, lease)
            raise
        study.store.fail(study.name, lease, printable(error))
        return
    except Exception as error:
        with log_of(place).open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(traceback.format_exc())
        text = " ".join(str(error).split())
        study.store.fail(study.name, lease, printable(f"{type(error).__name__}: {text}"))
        return
    if study.store.finish(study.name, lease, result, numbers, probabilities):
        shutil.rmtree(place / "checkpoints", ignore_errors=True)


def train_cell(
    study: Study, lease: Lease, device: str, options: WorkerOptions = NO_OPTIONS, base: int = 0
) -> tuple[dict[str, Any], bytes, bytes]:
    """Train a cell, or resume its training: its result, the numbers of the test images, their probabilities.

    Args:
        study: the study.
        lease: the lease of the cell.
        device: device to train on.
        options: the user's modules and trackers.
        base: memory of this process in bytes before its first cell.
    """
    began = time.perf_counter()
    place = cell_folder(study.folder, *lease.key)
    config = _config(study, lease, place, device).replace(
        imports=list(options.imports), track=list(options.track)
    )
    has_begun = _has_begun(place, config)
    if place.exists() and not has_begun:  # a worker died before it wrote the configuration
        shutil.rmtree(place)
    reset_peak_memory(device)
    with log_of(place).open("a", encoding="utf-8") as log:
        display = ConsoleDisplay(Console(file=log, width=110))
        parts = study.parts(lease.seed, lease.fold)
        run = run_experiment(config, resume=has_begun, display=display, images=parts)
    test = run.metrics["test"]
    row = {path: number for number, path in enumerate(study.images.table["path"])}
    predicted = run.predicted()
    assert predicted.paths is not None
    history = run.history.to_dict("records") if run.has_epochs else []
    result = {
        "figures": {name: test[name]["value"] for name in OVERALL},
        "n": test["n"],
        "groups": test["groups"],
        "train": int((parts.table["split"] == "train").sum()),
        "memory": peak_memory(device, base),
        "history": history,
        "run": str(place.relative_to(study.folder)),
        "training": history[-1]["seconds"] if history else None,
        "seconds": time.perf_counter() - began,
    }
    numbers = np.array([row[path] for path in predicted.paths], dtype=np.int32)
    return result, _bytes(numbers), _bytes(predicted.probabilities)


def log_of(place: Path) -> Path:
    """The log of a run folder."""
    return place.with_name(f"{place.name}.log")


def _config(study: Study, lease: Lease, place: Path, device: str) -> TrainConfig:
    # The manifest of a cell contains its split, so that the cell can be repeated on its own.
    arm = study.config(lease.arm)
    return arm.replace(
        data=str(place / "manifest.csv"),
        out=str(place),
        seed=arm.seed + lease.seed,
        device=device,
        split="folder",
        test_from="train",  # the parts of the cell are complete
    )


def _has_begun(place: Path, config: TrainConfig) -> bool:
    """Whether the folder contains the begun training of this cell."""
    try:
        begun = Run.open(place).config
        return begun.replace(device=config.device, imports=config.imports, track=config.track) == config
    except ExciteError:
        return False


def _bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _is_full(error: ExciteError) -> bool:
    return "no space left" in str(error).lower() or "disk is full" in str(error).lower()


@contextlib.contextmanager
def _heartbeat(study: Study, lease: Lease, lease_seconds: float) -> Iterator[None]:
    """Renew the lease every third of its duration."""
    done = threading.Event()

    def heartbeat() -> None:
        while not done.wait(lease_seconds / 3):
            with contextlib.suppress(ExciteError):  # the main thread meets the same error and reports it
                if not study.store.heartbeat(study.name, lease, lease_seconds):
                    return

    thread = threading.Thread(target=heartbeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def request_stop() -> None:
    """Ask this process to stop, from any thread, as SIGTERM does; Windows can only send it to a handler."""
    if os.name == "posix":
        os.kill(os.getpid(), signal.SIGTERM)
    elif callable(signal.getsignal(signal.SIGTERM)):
        _thread.interrupt_main(signal.SIGTERM)
    else:
        os._exit(TERMINATED)


def _stop_with_driver() -> None:
    """Terminate when standard input ends, which happens when the driver ends."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):  # not sys.stdin, whose lock would block the end of the process
                pass
        request_stop()

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Train cells until none is left; the exit code of the worker process."""
    folder, device, threads, name, lease_seconds, options = sys.argv[1:]
    _stop_with_driver()
    try:
        study = Study.open(folder, os.environ[STORE])
        work(
            study,
            device=device,
            threads=int(threads),
            name=name,
            lease_seconds=float(lease_seconds),
            options=WorkerOptions.from_json(options),
        )
    except ExciteError as error:
        print(printable(f"excite: error: {error}"), file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
