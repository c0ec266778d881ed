"""A training that fails before its first checkpoint leaves no folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from excite.errors import INTERRUPTED, TERMINATED, ExciteError
from excite.runs.run import Run


@contextlib.contextmanager
def discarding_failed_start(run: Run, *, enabled: bool = True) -> Iterator[None]:
    """Remove the folder of a run if the block fails before there is anything to resume.

    An interrupted training stays, as ``--resume`` continues it. So does a run with a checkpoint, of the run
    itself or of a fold, and one that was evaluated.

    Args:
        run: a run that this process has created.
        enabled: whether to do anything.
    """
    try:
        yield
    except Exception as error:
        stopped = isinstance(error, ExciteError) and error.exit_code in (INTERRUPTED, TERMINATED)
        if enabled and not stopped and not _has_progress(run):
            shutil.rmtree(run.path, ignore_errors=True)
            with contextlib.suppress(OSError):  # runs/, if this was its only run
                run.path.parent.rmdir()
        raise


def _has_progress(run: Run) -> bool:
    return any(any(run.path.rglob(pattern)) for pattern in ("checkpoints/*.safetensors", "metrics.json"))
