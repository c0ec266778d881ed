"""Check each file of a data set: hash, size, and samples; several processes check a part each."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from excite.data.decoding import inspect_file
from excite.data.dicom import installed_decoders
from excite.data.intensity import SampleExtremes
from excite.data.patients import key_fingerprint
from excite.data.stored_image import StoredImage, changed_bytes, is_remote
from excite.errors import ExciteError
from excite.system.cache import name_owner
from excite.system.parallel import Progress, after, in_threads
from excite.system.shared_work import SharedPart, compute_together

CHUNK = 4_000  # images that one process checks at a time; also those whose results are in one file
_VERSION = 4
_HEADER = ["path", "sha256", "width", "height", "samples", "low", "high", "patient", "reason"]
_NO_PATIENT = "-"  # a DICOM file without an identifier


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What the check of one file found; ``reason`` is "" for a readable file.

    ``patient`` is that of ``Inspection``.
    """

    path: str
    sha256: str = ""
    width: int = 0
    height: int = 0
    extremes: SampleExtremes | None = None
    patient: str | None = None
    reason: str = ""


def inspect_all(
    files: Sequence[StoredImage], *, max_pixels: int, cache: Path | None, progress: Progress | None = None
) -> list[CheckedFile]:
    """What the check of each file finds, in order.

    Args:
        max_pixels: larger images count as unreadable.
        cache: folder that remembers the results of each ``CHUNK`` of files until one of them changes.
        progress: called with (files done, total files); not for those whose results the cache has.

    Raises:
        ExciteError: for a shard that is missing, truncated, or changed.
    """
    parts = [
        _part(files[start : start + CHUNK], max_pixels, cache, after(start, len(files), progress))
        for start in range(0, len(files), CHUNK)
    ]
    done = compute_together(parts)
    return list(chain.from_iterable(done))


def _part(
    files: Sequence[StoredImage], max_pixels: int, cache: Path | None, progress: Progress | None
) -> SharedPart[list[CheckedFile]]:
    memory = None if cache is None else cache / "checked" / f"{_key(files, max_pixels)}.csv"
    paths = [file.path for file in files]
    name_owner(memory, paths)
    check = partial(_inspect, max_pixels=max_pixels)
    return SharedPart(
        memory,
        lambda: list(in_threads(check, files, progress=progress)),
        _format,
        partial(_parse, paths=paths),
    )


def _inspect(file: StoredImage, *, max_pixels: int) -> CheckedFile:
    # Read first: a shard that cannot be read is an error, and not an unreadable image.
    content = file.read() if file.shard else None
    if content is not None and hashlib.sha256(content).hexdigest() != file.sha256:
        raise changed_bytes(file)
    try:
        inspection = inspect_file(file.path if content is None else content, max_pixels=max_pixels)
    except ExciteError as error:
        return CheckedFile(file.path, reason=error.what)
    return CheckedFile(
        file.path, inspection.sha256, *inspection.size, inspection.extremes, inspection.patient
    )


def _key(files: Sequence[StoredImage], max_pixels: int) -> str:
    """A hash of the path and state of each file, and of what reads DICOM.

    In a shard, the state is that of the shard and the place of the image.
    """
    what = f"{_VERSION} {max_pixels} {installed_decoders()} {key_fingerprint()}"
    digest = hashlib.sha256(what.encode())
    shards = {shard: _state(shard) for shard in sorted({file.shard for file in files} - {""})}
    for path, shard, offset, size, sha256 in files:
        state = f"{shards[shard]} {offset} {size} {sha256}" if shard else _state(path)
        digest.update(f"\0{path}\0{state}".encode())
    return digest.hexdigest()


def _state(path: str) -> str:
    """Size, modification time, and read permission of a file; of an object store, the index tells."""
    if is_remote(path):
        return "remote"
    try:
        status = Path(path).stat()
        return f"{status.st_size} {status.st_mtime_ns} {os.access(path, os.R_OK)}"
    except OSError as error:
        return f"missing {error.errno}"


def _format(results: Sequence[CheckedFile]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_HEADER)
    for r in results:
        extremes = [r.extremes.kind, r.extremes.low, r.extremes.high] if r.extremes else [""] * 3
        patient = _NO_PATIENT if r.patient == "" else r.patient
        writer.writerow([r.path, r.sha256, r.width, r.height, *extremes, patient, r.reason])
    return text.getvalue()


def _parse(text: str, *, paths: Sequence[str]) -> list[CheckedFile] | None:
    """The inverse of ``_format``; None for results that are incomplete, damaged, or of other files."""
    header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    results = [
        CheckedFile(path, sha256, int(width), int(height), _extremes(*samples), _patient(patient), reason)
        for path, sha256, width, height, *samples, patient, reason in rows
    ]
    whole = header == _HEADER and [result.path for result in results] == list(paths)
    plausible = all(r.reason or (len(r.sha256) == 64 and r.width > 0 and r.height > 0) for r in results)
    return results if whole and plausible else None


def _extremes(kind: str, low: str, high: str) -> SampleExtremes | None:
    return SampleExtremes(kind, float(low), float(high)) if kind else None


def _patient(text: str) -> str | None:
    return "" if text == _NO_PATIENT else text or None
