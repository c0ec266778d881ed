"""What the cache folder holds, of which data sets, and how it is emptied."""

from __future__ import annotations

import csv
import shutil
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from excite.audit.duplicates.fingerprints import FINGERPRINTS
from excite.data.archives import ARCHIVES, last_used, read_note, remove_unpacked, unpacked_archives
from excite.errors import ExciteError
from excite.system.cache import OWNER, owners_of

OF_IMAGES = ("pixels", "features", "checked", "facts", "duplicates")  # folders of files with an owner
OF_ALL = {
    "kernels": "compiled kernels",
    "weights": "weights of installed packages",
    "digits": "the built-in data set digits",
    "shards": "shards of object stores",
    "memory": "images and tables that Python passed",
}
NO_OWNER = ""


@dataclass(frozen=True)
class CachedData:
    """Files of the cache that belong together.

    Args:
        data: the folder or archive of the images that they were computed from; "" for files of no data set.
        content: what they are.
        files: number of files.
        size: in bytes.
        exists: whether the folder or archive still exists; None for files of no data set.
    """

    data: str
    content: str
    files: int
    size: int
    exists: bool | None


def cached_data(cache: Path) -> list[CachedData]:
    """What the cache holds: by data set, the largest first, then what belongs to none.

    Fingerprints of images are in one file for all data sets, by the content of the images.

    Example:
        >>> from tempfile import mkdtemp
        >>> cached_data(Path(mkdtemp()))
        []
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for file in _files_of_images(cache):
        for data in owners_of(file) or [NO_OWNER]:
            found[_archive_around(data, cache)].append(file)
    for folder, note in unpacked_archives(cache):
        found[note.archive] += [file for file in folder.rglob("*") if file.is_file()]
    rows = []
    for data, files in found.items():
        kinds = ", ".join(sorted({file.relative_to(cache).parts[0] for file in files}))
        exists = Path(data).exists() if data else None
        rows.append(CachedData(data, kinds, len(files), sum(map(_size, files)), exists))
    rows.sort(key=lambda row: (not row.data, -row.size))
    for name, content in OF_ALL.items():
        if files := [file for file in (cache / name).rglob("*") if file.is_file()]:
            rows.append(CachedData(NO_OWNER, content, len(files), sum(map(_size, files)), None))
    if (cache / FINGERPRINTS).is_file():
        size = _size(cache / FINGERPRINTS)
        rows.append(CachedData(NO_OWNER, "fingerprints of images of all data sets", 1, size, None))
    return rows


def empty_cache(cache: Path, data: Path | None = None) -> tuple[int, int]:
    """Remove what was computed from the images of a folder, or (None) everything.

    Everything can be computed again. Only files that excite writes are removed.

    Args:
        cache: the cache folder.
        data: the folder or archive of a data set, which may not exist any more; its fingerprints are removed,
            too.

    Returns:
        the number of files or fingerprints, and their bytes.
    """
    if data is None:
        files = [*_files_of_images(cache), cache / FINGERPRINTS]
        files += [file for name in (*OF_ALL, ARCHIVES) for file in (cache / name).rglob("*")]
        files = [file for file in files if file.is_file()]
        size = sum(map(_size, files))
        for name in (*OF_IMAGES, *OF_ALL, ARCHIVES):
            shutil.rmtree(cache / name, ignore_errors=True)
        for file in cache.glob(f"{FINGERPRINTS}*"):  # with the files that SQLite has beside it
            file.unlink()
        return len(files), size
    files = [
        file
        for file in _files_of_images(cache)
        if any(_is_in(_archive_around(one, cache), data) for one in owners_of(file))
    ]
    size = sum(map(_size, files))
    count = len(files) + _remove_fingerprints(cache, files)
    for folder, note in unpacked_archives(cache):
        if _is_in(note.archive, data):
            count, size = count + note.files, size + note.bytes
            remove_unpacked(folder)
    for file in files:
        _remove(file)
    return count, size


def prune_cache(
    cache: Path, *, older_than: float | None = None, max_size: int | None = None, now: float | None = None
) -> tuple[int, int]:
    """Remove what was computed from images and not used for long, or, the oldest first, what is too much.

    Args:
        cache: the cache folder.
        older_than: files and unpacked archives last used more than this many seconds ago are removed; None:
            none is.
        max_size: bytes that files computed from images and unpacked archives may take; None: any number.
        now: the time in seconds since 1970; None: the current one.

    Returns:
        the number of files removed, and their bytes.
    """
    now = time.time() if now is None else now
    archives = dict(unpacked_archives(cache))
    sizes = {file: _size(file) for file in _files_of_images(cache)}
    sizes |= {folder: note.bytes for folder, note in archives.items()}
    used = sorted((last_used(path) if path in archives else _last_used(path), path) for path in sizes)
    total, count, size = sum(sizes.values()), 0, 0
    for when, path in used:
        is_old = older_than is not None and now - when > older_than
        if not is_old and (max_size is None or total - size <= max_size):
            continue
        size += sizes[path]
        if path in archives:
            count += archives[path].files
            remove_unpacked(path)
        else:
            count += 1
            _remove(path)
    return count, size


def _remove(file: Path) -> None:
    """Remove a file and the note of its owner. Raises: ExciteError if a program has it open, on Windows."""
    try:
        file.unlink(missing_ok=True)
        file.with_name(file.name + OWNER).unlink(missing_ok=True)
    except PermissionError as error:
        hint = "end the training or evaluation that uses it"
        raise ExciteError("cannot be removed: permission denied", where=file, hint=hint) from error


def _archive_around(data: str, cache: Path) -> str:
    """The archive that a folder in the cache was unpacked from; any other folder itself."""
    home = cache / ARCHIVES
    if not data or not Path(data).is_relative_to(home):
        return data
    note = read_note(home / Path(data).relative_to(home).parts[0])
    return data if note is None else note.archive


def _last_used(file: Path) -> float:
    """Some file systems do not record when a file is read; then, when it was written."""
    try:
        status = file.stat()
    except OSError:
        return 0.0
    return max(status.st_atime, status.st_mtime)


def _files_of_images(cache: Path) -> Iterator[Path]:
    for name in OF_IMAGES:
        yield from (file for file in (cache / name).glob("*") if file.is_file() and file.suffix != OWNER)


def _is_in(folder: str, data: Path) -> bool:
    return Path(folder).is_relative_to(data)


def _remove_fingerprints(cache: Path, files: list[Path]) -> int:
    """Remove the fingerprints of the images that checked files list; their number."""
    hashes: set[str] = set()
    for file in files:
        if file.parent.name == "checked":
            with file.open(encoding="utf-8", newline="") as stream:
                hashes |= {row["sha256"] for row in csv.DictReader(stream)} - {""}
    removed = 0
    if hashes and (cache / FINGERPRINTS).is_file():
        with (
            suppress(sqlite3.Error),
            closing(sqlite3.connect(cache / FINGERPRINTS, timeout=10)) as database,
        ):
            with database:
                rows = [(sha256,) for sha256 in sorted(hashes)]
                removed = database.executemany(
                    "DELETE FROM fingerprints WHERE substr(key, -64) = ?", rows
                ).rowcount
            database.execute("VACUUM")  # deleted rows stay in the file until then
    return max(removed, 0)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
