"""Write files atomically: after a crash, there is the old file or the new one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from excite.errors import ExciteError

_ATTEMPTS, _PAUSE = 20, 0.1  # a virus scanner or a viewer has a new file open for about a second


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that replaces ``path`` at the end of the ``with`` block, and is deleted after an error.

    It is written under a temporary name in the same folder and flushed to disk before it is renamed. So after
    a crash or power failure there is the old file or the new one, and two processes may write at the same
    time (the last one wins). ``tempfile`` is not used because only the owner could read its files.

    Raises:
        OSError: if the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex}.tmp")  # a name may have 255 bytes
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _replace(temporary: Path, path: Path) -> None:
    """Rename a file over another one; on Windows, wait until no program has the other one open."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            temporary.replace(path)
            return
        except PermissionError:
            if os.name != "nt" or not left:
                raise
            time.sleep(_PAUSE)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises:
        ExciteError: if it cannot be written, for example because the disk is full.
    """
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ExciteError(f"cannot be written: {reason}", where=path) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 atomically; bytes of file names that are not UTF-8 become escapes such as ``\\udcff``.

    Raises:
        ExciteError: if it cannot be written, for example because the disk is full.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def create_exclusively(path: Path) -> bool:
    """Create an empty file; False if it exists, so that only one of several processes gets True."""
    try:
        path.open("xb").close()
    except FileExistsError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Flush a folder to disk, so that renames in it survive a power failure."""
    with contextlib.suppress(OSError):  # not every system can open a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
