"""Files that survive a crash at any moment: written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from excite.errors import ExciteError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes ``path``'s place when the block ends well, and vanishes when it does not.

    It is written under a name of its own in the same folder and flushed to the disk before it is renamed:
    after a crash or a power cut there is the old file or the new one, never half of one, and two processes
    may write at once (the last one wins). ``tempfile`` is not used because it would leave the file readable
    by its owner alone.

    Raises: OSError if the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex}.tmp")  # names end at 255 bytes
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all. Raises: ExciteError if the disk is full or forbids it."""
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ExciteError(f"cannot be written: {reason}", where=path) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8, whole or not at all; bytes of names that are no UTF-8 become escapes such as ``\\udcff``.

    Raises: ExciteError if the disk is full or forbids it.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def create_exclusively(path: Path) -> bool:
    """Create an empty file; False where it is already, so that of several processes one alone gets True."""
    try:
        path.open("xb").close()
    except FileExistsError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make renames in a folder outlast a power cut."""
    with contextlib.suppress(OSError):  # not every system lets a folder be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
