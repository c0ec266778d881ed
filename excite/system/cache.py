"""Where excite keeps what it can make again: decoded pixels, remembered checks, kernels, the digits."""

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
    """The folder for decoded pixels and remembered checks, created where it is missing.

    ``$EXCITE_CACHE``, else the platform's cache folder. There is no silent way out to the temporary
    folder: that is often held in memory, and the cache takes gigabytes.

    Raises:
        ExciteError: when it cannot be written to.
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
    """Where the cache folder is, which may be missing or read-only.

    Raises:
        ExciteError: when there is no home folder for it.
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
    except RuntimeError as error:  # there is no home folder, or ~somebody has none
        hint = "set EXCITE_CACHE to a folder that can be written to"
        raise ExciteError("there is no home folder to keep the cache in", hint=hint) from error
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
    """Write a result to a file of the cache; a failure costs time later, nothing else."""
    if path is not None:
        with suppress(OSError), replacing(path) as file:
            file.write(text.encode())
