"""The cache folder, for what can be computed again: decoded pixels, results of checks, kernels, the
digits."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from platformdirs import user_cache_dir

from excite.errors import ExciteError
from excite.system.files import replacing

T = TypeVar("T")

OWNER = ".data"  # suffix of the note beside a file that names the folder of its images


def cache_directory() -> Path:
    """The cache folder, created if it does not exist.

    It is ``$EXCITE_CACHE``, or else the platform's cache folder. The temporary folder is never used instead:
    it is often in memory, and the cache takes gigabytes.

    Raises:
        ExciteError: if it cannot be written to.
    """
    folder = cache_path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
        reason = "permission denied"
    except OSError as error:
        writable, reason = False, (error.strerror or str(error)).lower()
    if not writable:
        hint = "set EXCITE_CACHE to a folder that can be written to"
        raise ExciteError(f"the cache folder cannot be used: {reason}", where=folder, hint=hint)
    return folder


def cache_path() -> Path:
    """The path of the cache folder, which may be missing or read-only.

    Raises:
        ExciteError: if there is no home folder.
    """
    chosen = os.environ.get("EXCITE_CACHE") or user_cache_dir("excite", appauthor=False)
    try:
        return Path(chosen).expanduser().absolute()
    except RuntimeError as error:  # there is no home folder, or none of the user in ~user
        hint = "set EXCITE_CACHE to a folder that can be written to"
        raise ExciteError("there is no home folder for the cache", hint=hint) from error


def name_owner(path: Path | None, images: Iterable[str]) -> None:
    """Note beside a file of the cache of which images it was computed, so that it can be found and removed.

    Args:
        path: the file; None: there is no cache.
        images: paths of the images; the folder that they have in common is noted.
    """
    if path is None:
        return
    with suppress(OSError, ValueError):
        folder = os.path.commonpath({os.path.dirname(image) for image in images})  # noqa: PTH120 (text)
        known = owners_of(path)
        if folder not in known:
            with replacing(path.with_name(path.name + OWNER)) as file:
                file.write("\n".join([*known, folder]).encode("utf-8", "surrogateescape"))


def owners_of(path: Path) -> list[str]:
    """The folders of the images that a file of the cache was computed from."""
    try:
        text = path.with_name(path.name + OWNER).read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return []
    return text.split("\n")


def recall(path: Path | None, parse: Callable[[str], T | None]) -> T | None:
    """The result that ``remember`` wrote, or None if there is no file, or none that ``parse`` accepts.

    Args:
        parse: turns the text of the file into the result; None or an error means that it is not usable.
    """
    if path is None:
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return parse(file.read())
    except (OSError, ValueError, TypeError, KeyError, csv.Error):
        return None


def remember(path: Path | None, text: str) -> None:
    """Write a result to a file of the cache; if that fails, the result is computed again next time."""
    if path is not None:
        with suppress(OSError), replacing(path) as file:
            file.write(text.encode())
