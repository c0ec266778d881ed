"""Every file read and decoded once before anything is trained on it; what is bad is named, never replaced."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from excite.config.pixel_limit import MAX_PIXELS
from excite.data.decoding import inspect_file
from excite.data.intensity import SampleExtremes, combine_extremes
from excite.data.manifest import Manifest, check_classes
from excite.errors import BAD_USAGE, ExciteError
from excite.system.files import replacing
from excite.system.parallel import Progress, in_threads

_VERSION = 2
_HEADER = ["path", "sha256", "width", "height", "samples", "low", "high", "reason"]


@dataclass(frozen=True)
class UnreadableFile:
    """A file that is no usable picture, and why in a few words."""

    path: str
    reason: str


@dataclass(frozen=True)
class _Finding:
    path: str
    sha256: str = ""
    width: int = 0
    height: int = 0
    extremes: SampleExtremes | None = None
    reason: str = ""


def check_files(
    manifest: Manifest,
    *,
    max_pixels: int = MAX_PIXELS,
    cache: Path | None = None,
    progress: Progress | None = None,
    complete: bool = True,
) -> tuple[Manifest, list[UnreadableFile]]:
    """The manifest with hash and size of every good file, and the bad files, which it leaves out.

    Where files have more than 8 bits per channel, the manifest's ``extremes`` are those of all of them.

    Args:
        cache: remember the findings here; while no file changes they are not read again.
        progress: called with (files done, files in all).
        complete: refuse what is left when it cannot be trained on, as ``check_classes`` does.

    Raises:
        ExciteError: when leaving the bad files out leaves a class too small, or when some images have
            floating-point samples and others 16-bit integers.
    """
    paths = manifest.table["path"].tolist()
    memory = None if cache is None else cache / "checked" / f"{_key(paths, max_pixels)}.csv"
    findings = _recalled(memory, paths)
    if findings is None:
        findings = list(in_threads(partial(_examine, max_pixels=max_pixels), paths, progress=progress))
        _remember(memory, findings)
    good = [not finding.reason for finding in findings]
    filled = manifest.with_columns(
        sha256=[finding.sha256 for finding in findings],
        width=[finding.width for finding in findings],
        height=[finding.height for finding in findings],
    )
    extremes = combine_extremes(finding.extremes for finding in findings if finding.extremes)
    kept = replace(filled, table=filled.table[np.array(good, dtype=bool)], extremes=extremes)
    bad = [UnreadableFile(finding.path, finding.reason) for finding in findings if finding.reason]
    if complete:
        _check_remaining(kept, bad)
    return kept, bad


def require_readable(bad: Sequence[UnreadableFile], total: int, max_unreadable: float) -> None:
    """Refuse a data set with too many bad files.

    Args:
        max_unreadable: the share of files that may be bad, between 0 and 1.

    Raises:
        ExciteError: when more are, naming the first of them.
    """
    if not 0 <= max_unreadable <= 1:
        raise ExciteError(
            f"--max-unreadable must be between 0 and 1, got {max_unreadable}", exit_code=BAD_USAGE
        )
    if len(bad) > max_unreadable * total:
        what = f"{len(bad)} of {total} files are unreadable (allowed: {max_unreadable:.2%}): {_first(bad)}"
        raise ExciteError(what, hint="repair or remove them, or raise --max-unreadable to leave them out")


def _examine(path: str, *, max_pixels: int) -> _Finding:
    try:
        found = inspect_file(path, max_pixels=max_pixels)
    except ExciteError as error:
        return _Finding(path, reason=error.what)
    return _Finding(path, found.sha256, *found.size, found.extremes)


def _check_remaining(kept: Manifest, bad: Sequence[UnreadableFile]) -> None:
    try:
        check_classes(kept)
    except ExciteError as error:
        if not bad:
            raise
        what = f"without the {len(bad)} bad files the data cannot be used: {error.what}; bad: {_first(bad)}"
        raise ExciteError(what, hint="repair them, or add images") from error


def _first(bad: Sequence[UnreadableFile], shown: int = 3) -> str:
    names = "; ".join(f"{file.path} {file.reason}" for file in bad[:shown])
    return names + (f"; and {len(bad) - shown} more" if len(bad) > shown else "")


def _key(paths: Sequence[str], max_pixels: int) -> str:
    """Changes when any file does: its path, size, time of writing, or whether it may be read."""
    digest = hashlib.sha256(f"{_VERSION} {max_pixels}".encode())
    for path in paths:
        try:
            status = Path(path).stat()
            state = f"{status.st_size} {status.st_mtime_ns} {os.access(path, os.R_OK)}"
        except OSError as error:
            state = f"missing {error.errno}"
        digest.update(f"\0{path}\0{state}".encode())
    return digest.hexdigest()


def _recalled(memory: Path | None, paths: Sequence[str]) -> list[_Finding] | None:
    """What was found last time, or None when there is nothing whole to recall."""
    if memory is None:
        return None
    try:
        with memory.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
        findings = [
            _Finding(path, sha, int(w), int(h), _extremes(kind, low, high), reason)
            for path, sha, w, h, kind, low, high, reason in rows
        ]
    except (OSError, ValueError, csv.Error):
        return None
    whole = header == _HEADER and [finding.path for finding in findings] == list(paths)
    plausible = all(f.reason or (len(f.sha256) == 64 and f.width > 0 and f.height > 0) for f in findings)
    return findings if whole and plausible else None


def _extremes(kind: str, low: str, high: str) -> SampleExtremes | None:
    return SampleExtremes(kind, float(low), float(high)) if kind else None


def _remember(memory: Path | None, findings: Sequence[_Finding]) -> None:
    if memory is None:
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_HEADER)
    for f in findings:
        seen = [f.extremes.kind, f.extremes.low, f.extremes.high] if f.extremes else [""] * 3
        writer.writerow([f.path, f.sha256, f.width, f.height, *seen, f.reason])
    with suppress(OSError), replacing(memory) as file:  # forgetting costs time, nothing else
        file.write(text.getvalue().encode())
