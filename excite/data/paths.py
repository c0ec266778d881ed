"""Paths as the system understands them, and folders in which nothing is written."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from excite.errors import BAD_USAGE, ExciteError


def absolute_path(path: str | Path, start: str | Path = "") -> Path:
    """An absolute path without ``.`` and ``..``; a link before a ``..`` is followed, as the system does.

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
    """The path with its names in the Unicode form (NFC or NFD) that they have on the disk, if it is there."""
    if str(path).isascii() or os.path.lexists(path):
        return path
    found = Path(path.anchor)
    for name in path.parts[1:]:
        if os.path.lexists(found / name):
            found /= name
            continue
        try:
            names = os.listdir(found)  # noqa: PTH208 (names)
        except OSError:
            return path
        wanted = unicodedata.normalize("NFC", name)
        same = next((other for other in names if unicodedata.normalize("NFC", other) == wanted), None)
        if same is None:
            return path
        found /= same
    return found


def is_same_path(path: str, other: str, start: str | Path = "") -> bool:
    """Whether two paths are one file or folder for the system.

    Args:
        start: the folder that ``other`` starts at if it is relative; the working directory by default.
    """
    one, two = (os.path.expanduser(text) for text in (path, other))  # noqa: PTH111
    return os.path.realpath(one) == os.path.realpath(absolute_path(two, start))


def refuse_inside_data(target: Path, data: str | Path, images: Iterable[str] = ()) -> None:
    """Nothing is ever written among a user's images; links are followed on both sides.

    Args:
        target: the file or folder to be written.
        data: the data set; if it is a folder, nothing is written in it.
        images: paths of its images; nothing is written in a folder that holds one of them, nor in a folder
            that holds two such folders. Where ``data`` is a table, folders around it are left open: a table
            may lie beside its images, and ``runs/`` beside it.

    Raises: ExciteError with a place outside.
    """
    place = Path(os.path.realpath(target))
    if (root := _data_around(place, data, images)) is not None:
        here = Path(os.path.realpath(os.curdir))
        inside = place.relative_to(here if here in place.parents and root in here.parents else root)
        other = root.parent / (inside if inside.parts else f"{root.name}-out")
        raise ExciteError(
            "lies inside the data, where nothing is written",
            where=target,
            hint=f"name a place outside, such as --out {os.path.relpath(other)}",
            exit_code=BAD_USAGE,
        )


def refuse_cache_inside_data(cache: Path, data: str | Path, images: Iterable[str] = ()) -> None:
    """The same for the cache folder, whose files would be read as images besides.

    Raises: ExciteError with the variable that moves it.
    """
    if _data_around(Path(os.path.realpath(cache)), data, images) is not None:
        raise ExciteError(
            "the cache folder lies inside the data, where nothing is written",
            where=cache,
            hint="set EXCITE_CACHE to a folder outside",
            exit_code=BAD_USAGE,
        )


def _data_around(place: Path, data: str | Path, images: Iterable[str]) -> Path | None:
    """The outermost folder of the data that a real path lies in; None where it lies in none."""
    source = Path(os.path.realpath(absolute_path(os.path.expanduser(data))))  # noqa: PTH111
    closed = _image_folders(images, source)
    if source.is_dir():
        closed.add(source)
    return next((folder for folder in reversed((place, *place.parents)) if folder in closed), None)


def _image_folders(images: Iterable[str], table: Path) -> set[Path]:
    """The folders that belong to images, as the system knows them."""
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
