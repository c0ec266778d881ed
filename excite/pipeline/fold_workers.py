"""Many trainings shared out among processes: each takes what nobody else is at, until all are done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from excite.runs.run import Run


def train_next_folds(cells: Sequence[Run], train: Callable[[int], None]) -> None:
    """Train every cell that is not finished and that no other process is training; then wait for those.

    A process that dies lets go of its cell, and whoever waits for it goes on with it.

    Args:
        cells: run folders, in the same order in every process.
        train: called with the index of a cell, which it begins or resumes.
    """
    for patience in (0.0, -1.0):  # first what is free, then what others have not finished
        for index, cell in enumerate(cells):
            if cell.finished:
                continue
            cell.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(cell.path.with_name(f".{cell.path.name}.lock"), timeout=patience):
                    if not cell.finished:
                        train(index)
            except Timeout:
                continue


@contextmanager
def helpers(count: int, code: str, folder: Path) -> Iterator[None]:
    """Further processes on this machine, which run a line of Python and write to ``helper-N.log``.

    They end when the block does, also by an error or a signal.

    Args:
        code: what each runs; ``sys.argv[1]`` is the folder.
    """
    logs, processes = [], []
    # Of torchrun's environment they know nothing: they are nobody's ranks.
    own = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    own["PYTHONIOENCODING"] = "utf-8"  # of the logs
    try:
        for number in range(1, count + 1):
            log = (folder / f"helper-{number}.log").open("w", encoding="utf-8")
            logs.append(log)
            call = [sys.executable, "-c", code, str(folder)]
            processes.append(
                subprocess.Popen(call, env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
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
