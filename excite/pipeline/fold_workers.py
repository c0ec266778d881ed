"""Trainings divided among processes: each takes the next one that is free, until all are finished."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from excite.runs.run import Run


def train_next_folds(cells: Sequence[Run], train: Callable[[int], None]) -> None:
    """Train every fold that is neither finished nor being trained by another process; then wait for those.

    If a process dies, one that waits for its fold takes it over and resumes it.

    Args:
        cells: run folders of the folds, in the same order in every process.
        train: begins or resumes the fold with this index.
    """
    for timeout in (0.0, -1.0):  # first those that are free, then those that others have not finished
        for index, cell in enumerate(cells):
            if not cell.finished:
                with suppress(Timeout):
                    _train_locked(cell, partial(train, index), timeout)


def _train_locked(cell: Run, train: Callable[[], None], timeout: float) -> None:
    """Train a fold under its lock. Raises: Timeout if another process holds the lock."""
    cell.path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(cell.path.with_name(f".{cell.path.name}.lock"), timeout=timeout):
        if not cell.finished:
            train()


@contextmanager
def helpers(count: int, code: str, folder: Path, arguments: Sequence[str] = ()) -> Iterator[None]:
    """Start more processes on this machine, which write to ``helper-N.log``; wait for them after the block.

    They are terminated if the block raises.

    Args:
        count: number of processes.
        code: Python code that each runs; ``sys.argv[1]`` is the folder.
        folder: of the logs.
        arguments: the rest of ``sys.argv``.
    """
    logs, processes = [], []
    # Without torchrun's variables: helpers are not ranks of its process group.
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    environment["PYTHONIOENCODING"] = "utf-8"  # of the logs
    try:
        for number in range(1, count + 1):
            log = (folder / f"helper-{number}.log").open("w", encoding="utf-8")
            logs.append(log)
            call = [sys.executable, "-c", code, str(folder), *arguments]
            processes.append(
                subprocess.Popen(call, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            )
        yield
        for process in processes:
            process.wait()
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
        for log in logs:
            log.close()
