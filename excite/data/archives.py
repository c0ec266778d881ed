"""Data sets in zip and tar archives: unpacked once into the cache, and read there as folders.

Nothing is written beside the archive. The folder in the cache is named by the archive and the hash of its
bytes, so that the paths of images tell where they are from, and stay the same for a copy of the archive.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from excite.data.archive_members import (
    OTHER_SUFFIXES,
    SUFFIXES,
    Member,
    archive_errors,
    archive_stem,
    has_archive_name,
    members,
)
from excite.data.folders import CLUTTER, is_image_name, list_folder, without_image_names
from excite.data.left_out import LeftOut
from excite.errors import BAD_USAGE, ExciteError
from excite.system.cache import cache_directory, recall, remember
from excite.system.files import sha256_of, write_text
from excite.system.portable_names import portable_name

ARCHIVES = "archives"  # in the cache
MAX_RATIO = 100
"""How many times as large as an archive its content may be; images can hardly be compressed."""
ALWAYS_ALLOWED = 2**30
"""Bytes that any archive may unpack to."""

_NOTE = ".json"
_CHUNK = 2**20
_MEMBER_BYTES = 512  # that each member counts beside its content
_VERSION = 1


@dataclass(frozen=True)
class Unpacked:
    """The content of an archive in the cache.

    Args:
        folder: of the images, without folders around all of them.
        left_out: files that were not unpacked.
    """

    folder: Path
    left_out: tuple[LeftOut, ...]


@dataclass
class Note:
    """What is known about an unpacked archive; a JSON file beside its folder.

    Args:
        archive: path when it was last read.
        sha256: of its bytes.
        files, bytes: what was unpacked.
        others: number of files without the extension of an image, and one of them.
        links: number of links and devices, and one of them.
    """

    archive: str
    sha256: str
    files: int = 0
    bytes: int = 0
    others: tuple[int, str] = (0, "")
    links: tuple[int, str] = (0, "")
    version: int = field(default=_VERSION)

    def left_out(self) -> tuple[LeftOut, ...]:
        """What was not unpacked."""
        (others, other), (links, link) = self.others, self.links
        found = without_image_names([other] * others)
        if links:
            reason = "it is a link or a device" if links == 1 else "they are links or devices"
            found = (*found, LeftOut(links, reason, link))
        return found


def is_archive(path: Path) -> bool:
    """Whether a path is an archive that can be read, by its extension.

    Raises:
        ExciteError: for an archive of another kind.
    """
    if not path.is_file():
        return False
    if path.name.lower().endswith(OTHER_SUFFIXES):
        what = f"is an archive of a kind that is not read ({', '.join(SUFFIXES)} are)"
        raise ExciteError(what, where=path, hint="unpack it, and name the folder", exit_code=BAD_USAGE)
    return has_archive_name(path)


def unpack(archive: Path, cache: Path) -> Unpacked:
    """The content of an archive, which is unpacked if it is not in the cache yet.

    Args:
        archive: a zip or tar.
        cache: the cache folder.

    Raises:
        ExciteError: for an archive that is damaged, encrypted, or would unpack to too much, for members
            outside of it or twice, and if the cache cannot be written to.
    """
    home = cache / ARCHIVES
    sha256 = _hash_of(archive, home)
    folder = home / f"{portable_name(archive_stem(archive))}-{sha256[:12]}"
    note = read_note(folder)
    if note is None or note.sha256 != sha256 or _content(folder) != (note.files, note.bytes):
        note = _unpack(archive, sha256, folder)
    elif note.archive != str(archive):
        note.archive = str(archive)
        with suppress(ExciteError):
            _write_note(folder, note)
    with suppress(OSError):  # when it was last used, for excite cache prune
        os.utime(_note_of(folder))
    return Unpacked(_inner(folder), note.left_out())


def image_folder(path: Path) -> Path | None:
    """The folder that a path to images names: itself, or that of an unpacked archive; None for a file.

    Raises:
        ExciteError: as ``unpack``.
    """
    if path.is_dir():
        return path
    return unpack(path.absolute(), cache_directory()).folder if is_archive(path) else None


def read_note(folder: Path) -> Note | None:
    """What is known about an unpacked archive; None for any other folder."""

    def parse(text: str) -> Note | None:
        values = json.loads(text)
        note = Note(**values | {name: tuple(values[name]) for name in ("others", "links")})
        return note if note.version == _VERSION else None

    return recall(_note_of(folder), parse)


def unpacked_archives(cache: Path) -> Iterator[tuple[Path, Note]]:
    """The folders of unpacked archives in the cache."""
    for path in sorted((cache / ARCHIVES).glob(f"*{_NOTE}")):
        folder = path.with_name(path.name.removesuffix(_NOTE))
        if (note := read_note(folder)) is not None:
            yield folder, note


def remove_unpacked(folder: Path) -> None:
    """Remove an unpacked archive from the cache."""
    _note_of(folder).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def last_used(folder: Path) -> float:
    """When an unpacked archive was last read, in seconds since 1970."""
    return _note_of(folder).stat().st_mtime


def _note_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _NOTE)


def _write_note(folder: Path, note: Note) -> None:
    write_text(_note_of(folder), json.dumps(asdict(note), ensure_ascii=True, indent=2) + "\n")


def _hash_of(archive: Path, home: Path) -> str:
    """The hash of an archive, which is computed again if it changes."""
    try:
        state = archive.stat()
        key = f"{archive}\0{state.st_size}\0{state.st_mtime_ns}".encode("utf-8", "surrogateescape")
        memory = home / f"{hashlib.sha256(key).hexdigest()[:32]}.sha256"
        known = recall(memory, lambda text: text if len(text) == 64 else None)
        if known is None:
            known = sha256_of(archive)
            remember(memory, known)
        return known
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ExciteError(f"cannot be read: {reason}", where=archive) from error


def _content(folder: Path) -> tuple[int, int]:
    """Number and bytes of the files in a folder: a part of an unpacked archive may have been removed."""
    sizes = [
        os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118 (many files)
        for place, _, names in os.walk(folder)
        for name in names
    ]
    return len(sizes), sum(sizes)


def _unpack(archive: Path, sha256: str, folder: Path) -> Note:
    temporary = folder.with_name(f".{uuid.uuid4().hex}")
    note = Note(str(archive), sha256)
    try:
        temporary.mkdir(parents=True)
        with archive_errors(archive):
            _write_members(archive, temporary, note)
        _rename(temporary, folder, (note.files, note.bytes))
        _write_note(folder, note)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = "free space, or set EXCITE_CACHE to a folder on another disk"
        raise ExciteError(f"cannot be unpacked into the cache: {reason}", where=archive, hint=hint) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return note


def _rename(temporary: Path, folder: Path, content: tuple[int, int]) -> None:
    """Rename a folder, unless another process has written the same in the meantime."""
    try:
        temporary.rename(folder)
    except OSError:
        if _content(folder) != content:  # what is there is incomplete
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)


def _write_members(archive: Path, folder: Path, note: Note) -> None:
    """Write the images and tables of an archive; all else is counted in the note."""
    budget = _Budget(archive, folder)
    for member in members(archive):
        budget.spend(_MEMBER_BYTES)
        if member.content is None:
            note.links = (note.links[0] + 1, note.links[1] or f"{archive}/{member.name}")
            continue
        budget.check(member.size)
        if any(part.startswith(".") or part in CLUTTER for part in member.parts):
            continue
        target = folder.joinpath(*member.parts)
        if not is_image_name(target) and target.suffix.lower() != ".csv":
            note.others = (note.others[0] + 1, note.others[1] or f"{archive}/{member.name}")
            continue
        note.bytes += _write(member, target, budget)
        note.files += 1


def _write(member: Member, target: Path, budget: _Budget) -> int:
    assert member.content is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    try:
        with target.open("xb") as file:
            source: IO[bytes]
            with member.content() as source:
                while chunk := source.read(_CHUNK):
                    size += len(chunk)
                    budget.spend(len(chunk))
                    file.write(chunk)
    except FileExistsError as error:
        what = f"has two files that would be one here, such as {member.name!r}"
        raise ExciteError(what, hint="rename one of them, and pack it again") from error
    return size


class _Budget:
    """How many bytes an archive may still unpack to, counted while they are written."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self._limit = max(ALWAYS_ALLOWED, MAX_RATIO * archive.stat().st_size)
        self._free = shutil.disk_usage(folder).free
        self._spent = 0

    def check(self, size: int) -> None:
        """Raises: ExciteError if these bytes would be too many."""
        if self._spent + size > self._limit:
            what = f"would unpack to more than {self._limit / 2**30:.1f} GiB, {MAX_RATIO} times its size"
            raise ExciteError(what, hint="if it is what you expect, unpack it yourself, and name the folder")
        if size > self._free:
            what = f"needs more space than the {self._free / 2**30:.1f} GiB that are free for the cache"
            raise ExciteError(what, hint="set EXCITE_CACHE to a folder on another disk")

    def spend(self, size: int) -> None:
        """Count bytes. Raises: ExciteError as ``check``."""
        self.check(size)
        self._spent += size
        self._free -= size


def _inner(folder: Path) -> Path:
    """The folder of the data set: without folders around it that hold one folder with folders in it."""
    while True:
        folders, files = list_folder(folder)
        if len(folders) != 1 or files:
            return folder
        inside, images = list_folder(folders[0])
        if not inside or any(map(is_image_name, images)):
            return folder
        folder = folders[0]
