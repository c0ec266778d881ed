"""Give a finished file or folder its name, without replacing what is there."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from excite.errors import BAD_USAGE, ExciteError
from excite.system.files import sync_folder

_PREFIX = ".excite-export-"
_STALE_SECONDS = 24 * 3600


@contextmanager
def unpublished(path: Path) -> Iterator[Path]:
    """A path in a hidden folder beside ``path``; at the end of the block it is renamed to ``path``.

    After an error nothing is left; after a crash, the hidden folder, which a later export removes.

    Raises:
        ExciteError: if ``path`` exists, or cannot be written.
    """
    if path.exists() or path.is_symlink():
        raise exists_already(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent)
        place = path.parent / f"{_PREFIX}{uuid.uuid4().hex}"
        place.mkdir()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ExciteError(f"cannot be written: {reason}", where=path) from error
    try:
        yield place / path.name
        _publish(place / path.name, path)
        sync_folder(path.parent)
    except OSError as error:  # such as a full disk
        reason = (error.strerror or str(error)).lower()
        raise ExciteError(f"cannot be written: {reason}", where=path) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def exists_already(path: Path) -> ExciteError:
    """The error for a file or folder that is there."""
    hint = "remove it, or choose another name with --out"
    return ExciteError("exists already", where=path, hint=hint, exit_code=BAD_USAGE)


def _publish(finished: Path, path: Path) -> None:
    """Rename without replacing. Raises: ExciteError if the name exists."""
    if finished.is_dir():
        try:
            finished.rename(path)  # replaces an empty folder at most
        except OSError as error:
            raise exists_already(path) if path.exists() else error from error
        return
    try:
        path.hardlink_to(finished)
    except FileExistsError as error:
        raise exists_already(path) from error
    except OSError:  # the file system has no hard links
        finished.rename(path)


def _remove_stale(folder: Path) -> None:
    """Remove what killed exports left; one in progress has written within the last day."""
    for leftover in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
