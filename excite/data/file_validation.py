"""Read and decode every file once before training; unreadable files are listed and left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from excite.config.pixel_limit import MAX_PIXELS
from excite.data.file_check import CheckedFile, inspect_all
from excite.data.intensity import SampleExtremes, combine_extremes
from excite.data.manifest import Manifest, check_classes
from excite.data.split import apply_group_pattern
from excite.errors import BAD_USAGE, ExciteError
from excite.system.parallel import Progress
from excite.system.progress import Display


@dataclass(frozen=True)
class UnreadableFile:
    """A file that cannot be decoded, and the reason in a few words."""

    path: str
    reason: str


def read_checked(
    manifest: Manifest,
    *,
    max_unreadable: float,
    max_pixels: int,
    cache: Path,
    display: Display,
    group_pattern: str | None = None,
    complete: bool = True,
) -> tuple[Manifest, list[UnreadableFile]]:
    """Check the files of a manifest as ``check_files`` does, and report every file that is left out.

    Args:
        max_unreadable: the largest fraction of unreadable files, between 0 and 1.
        group_pattern: takes groups from file names, see ``apply_group_pattern``.
        complete: refuse images that cannot be trained on, as ``check_classes`` does.

    Raises:
        ExciteError: as ``check_files`` and ``apply_group_pattern``; if too many files are unreadable.
    """
    for left_out in manifest.left_out:
        display.note(str(left_out))
    checked, unreadable = check_files(
        manifest,
        max_pixels=max_pixels,
        cache=cache,
        progress=display.stage("checking images"),
        complete=complete,
    )
    if unreadable:
        display.note(f"left out: {_first(unreadable, shown=1)}")
    for file in unreadable[1:]:
        display.detail(f"left out: {file.path} {file.reason}")
    require_readable(unreadable, len(manifest), max_unreadable)
    if group_pattern is not None:
        checked = apply_group_pattern(checked, group_pattern)
    else:
        note_patients(manifest, checked, display)
    return checked, unreadable


def note_patients(before: Manifest, checked: Manifest, display: Display) -> None:
    """Say that the check took groups from DICOM files, if it did."""
    if before.table["group"].any() or not checked.table["group"].any():
        return
    patients = checked.table["group"].replace("", np.nan).nunique()
    text = f"the PatientID of DICOM files, as a hash: {patients:,} patients "
    display.fact("groups", text + "(--group-pattern, or --group-column for a CSV, names other groups)")


def check_files(
    manifest: Manifest,
    *,
    max_pixels: int = MAX_PIXELS,
    cache: Path | None = None,
    progress: Progress | None = None,
    complete: bool = True,
) -> tuple[Manifest, list[UnreadableFile]]:
    """The readable images with hash and size, and the unreadable files.

    If images have more than 8 bits per channel, ``extremes`` of the manifest covers all of them. If no image
    has a group, DICOM files of several patients get the patient's name (``dicom.patient_name``) as group.

    Args:
        max_pixels: larger images count as unreadable.
        cache: folder that remembers the results; files are not read again until one changes. Several
            processes that check the same files each check a part.
        progress: called with (files done, total files).
        complete: refuse images that cannot be trained on, as ``check_classes`` does.

    Raises:
        ExciteError: if the readable images cannot be trained on, if some images have floating-point samples
            and others 16-bit integers, if some are DICOM and others have more than 8 bits per channel, or
            if a shard is missing, truncated, or changed.
    """
    results = inspect_all(manifest.files(), max_pixels=max_pixels, cache=cache, progress=progress)
    readable = np.array([not result.reason for result in results], dtype=bool)
    filled = manifest.with_columns(
        sha256=[result.sha256 for result in results],
        width=[result.width for result in results],
        height=[result.height for result in results],
    )
    extremes = combine_extremes(result.extremes for result in results if result.extremes)
    _refuse_two_scales(results, extremes)
    if not filled.table["group"].any() and len({result.patient for result in results if result.patient}) > 1:
        filled = filled.with_columns(group=[result.patient or "" for result in results])
    checked = replace(filled, table=filled.table[readable], extremes=extremes)
    unreadable = [UnreadableFile(result.path, result.reason) for result in results if result.reason]
    if complete:
        _check_remaining(checked, unreadable)
    return checked, unreadable


def require_readable(unreadable: Sequence[UnreadableFile], total: int, max_unreadable: float) -> None:
    """Refuse a data set with too many unreadable files.

    Args:
        max_unreadable: the largest fraction of unreadable files, between 0 and 1.

    Raises:
        ExciteError: with the first of the unreadable files.
    """
    if not 0 <= max_unreadable <= 1:
        what = f"--max-unreadable must be between 0 and 1, got {max_unreadable}"
        raise ExciteError(what, exit_code=BAD_USAGE)
    if len(unreadable) > max_unreadable * total:
        what = f"{len(unreadable)} of {total} files are unreadable (allowed: {max_unreadable:.2%}): "
        what += _first(unreadable)
        raise ExciteError(what, hint="repair or remove them, or raise --max-unreadable to leave them out")


def _refuse_two_scales(results: Sequence[CheckedFile], extremes: SampleExtremes | None) -> None:
    """Refuse DICOM, which has windows, beside images whose range is measured over all of them."""
    dicom = sum(result.patient is not None for result in results)
    if dicom and extremes is not None:
        what = f"{dicom} images are DICOM and {extremes.images} have more than 8 bits per channel"
        raise ExciteError(what, hint="convert them to one kind: there is no common scale")


def _check_remaining(checked: Manifest, unreadable: Sequence[UnreadableFile]) -> None:
    try:
        check_classes(checked)
    except ExciteError as error:
        if not unreadable:
            raise
        what = (
            f"without the {len(unreadable)} unreadable files, {error.what}; unreadable: {_first(unreadable)}"
        )
        raise ExciteError(what, hint="repair these files, or add images") from error


def _first(unreadable: Sequence[UnreadableFile], shown: int = 3) -> str:
    names = "; ".join(f"{file.path} {file.reason}" for file in unreadable[:shown])
    return names + (f"; and {len(unreadable) - shown} more" if len(unreadable) > shown else "")
