"""The cache folder, for what can be computed again: decoded pixels, results of checks, kernels, the
digits."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from excite.errors import ExciteError
from excite.system.files import replacing

T = TypeVar("T")


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
    environment = os.environ
    try:
        if chosen := environment.get("EXCITE_CACHE"):
            return Path(chosen).expanduser().absolute()
        if chosen := environment.get("XDG_CACHE_HOME"):
            return Path(chosen).absolute() / "excite"
        if sys.platform == "win32" and (chosen := environment.get("LOCALAPPDATA")):
            return Path(chosen) / "excite" / "cache"
        home = Path.home()
    except RuntimeError as error:  # there is no home folder, or none of the user in ~user
        hint = "set EXCITE_CACHE to a folder that can be written to"
        raise ExciteError("there is no home folder for the cache", hint=hint) from error
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "excite"


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
