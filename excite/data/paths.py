"""Paths as the system resolves them, and folders that must not be written to."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from excite.data.archive_members import archive_stem, has_archive_name
from excite.errors import BAD_USAGE, ExciteError


def absolute_path(path: str | Path, start: str | Path = "") -> Path:
    """An absolute path without ``.`` and ``..``; a link before ``..`` is followed, as by the system.

    Args:
        start: the folder that a relative path starts at; the working directory by default.
    """
    full = os.path.join(Path.cwd(), start, path)  # noqa: PTH118 (text)
    parts = full.split(os.sep)  # noqa: PTH206 (Path.parts is the same but for the root)
    if os.pardir in parts:
        end = len(parts) - parts[::-1].index(os.pardir)
        full = os.path.join(os.path.realpath(os.sep.join(parts[:end])), *parts[end:])  # noqa: PTH118
    return Path(os.path.normpath(full))


def path_on_disk(path: Path) -> Path:
    """The path with its names in the Unicode form (NFC or NFD) that they have on the disk, if it exists."""
    if str(path).isascii() or os.path.lexists(path):
        return path
    resolved = Path(path.anchor)
    for name in path.parts[1:]:
        if os.path.lexists(resolved / name):
            resolved /= name
            continue
        try:
            names = os.listdir(resolved)  # noqa: PTH208 (names)
        except OSError:
            return path
        wanted = unicodedata.normalize("NFC", name)
        same = next((other for other in names if unicodedata.normalize("NFC", other) == wanted), None)
        if same is None:
            return path
        resolved /= same
    return resolved


def is_same_path(path: str, other: str, start: str | Path = "") -> bool:
    """Whether two paths lead to the same file or folder.

    Args:
        start: the folder that ``other`` starts at if it is relative; the working directory by default.
    """
    one, two = (os.path.expanduser(text) for text in (path, other))  # noqa: PTH111
    return os.path.realpath(one) == os.path.realpath(absolute_path(two, start))


def data_name(data: str | Path) -> str:
    """The name of a data set: that of its folder, or of its CSV or archive without the extension."""
    path = Path(data)
    if has_archive_name(path) and not path.is_dir():
        return archive_stem(path)
    return path.stem if path.suffix.lower() == ".csv" else path.resolve().name


def refuse_inside_data(target: Path, data: str | Path, images: Iterable[str] = ()) -> None:
    """Refuse to write among the images of a user; links are followed on both sides.

    Args:
        target: the file or folder to be written.
        data: the data set; if it is a folder, everything in it is protected.
        images: paths of its images; their folders are protected, and every folder that contains two of these.
            If ``data`` is a table, the folders above it are not: a table may be next to its images, and
            ``runs/`` next to the table.

    Raises:
        ExciteError: with a place outside as a suggestion.
    """
    place = Path(os.path.realpath(target))
    if (root := _data_around(place, data, images)) is not None:
        current = Path(os.path.realpath(os.curdir))
        inside = place.relative_to(current if current in place.parents and root in current.parents else root)
        other = root.parent / (inside if inside.parts else f"{root.name}-out")
        raise ExciteError(
            "is inside the data, where nothing may be written",
            where=target,
            hint=f"choose a folder outside, for example --out {os.path.relpath(other)}",
            exit_code=BAD_USAGE,
        )


def refuse_cache_inside_data(cache: Path, data: str | Path, images: Iterable[str] = ()) -> None:
    """Refuse a cache folder inside the data, where its files could also be read as images.

    Raises:
        ExciteError: with the environment variable that moves the cache.
    """
    if _data_around(Path(os.path.realpath(cache)), data, images) is not None:
        raise ExciteError(
            "the cache folder is inside the data, where nothing may be written",
            where=cache,
            hint="set EXCITE_CACHE to a folder outside",
            exit_code=BAD_USAGE,
        )


def _data_around(place: Path, data: str | Path, images: Iterable[str]) -> Path | None:
    """The outermost protected folder that contains a real path; None if there is none."""
    source = Path(os.path.realpath(absolute_path(os.path.expanduser(data))))  # noqa: PTH111
    closed = _image_folders(images, source)
    if source.is_dir():
        closed.add(source)
    return next((folder for folder in reversed((place, *place.parents)) if folder in closed), None)


def _image_folders(images: Iterable[str], table: Path) -> set[Path]:
    """The protected folders of images, as real paths."""
    holders = {os.path.dirname(image) for image in images}  # noqa: PTH120 (text)
    closed = {Path(os.path.realpath(holder)) for holder in holders} - set(table.parents)
    waiting = {folder.parent for folder in closed}
    while waiting:
        folder = max(waiting, key=lambda folder: len(folder.parts))
        waiting.remove(folder)
        if folder in closed or folder in table.parents or folder == folder.parent:
            continue
        if sum(other.parent == folder for other in closed) > 1:
            closed.add(folder)
            waiting.add(folder.parent)
    return closed
