"""Training obeys the audit: copies of one photo stay together, a given split that tears them is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from excite.audit.audit import Audit, audit
from excite.config.train_config import TrainConfig
from excite.data.file_validation import check_files, require_readable
from excite.data.paths import refuse_inside_data
from excite.data.reading import read_manifest
from excite.data.split import apply_group_pattern
from excite.errors import ExciteError
from excite.runs.derive import intensity_range_of
from excite.system.cache import cache_directory
from excite.system.progress import Display
from excite.system.text import command_line


def prepare_data(config: TrainConfig, out: Path, display: Display) -> Audit:
    """The images to train on, checked, and what the audit found; its ``grouped()`` are trained on.

    Args:
        out: the folder that will be written.

    Raises:
        ExciteError: for data that cannot be trained on, a folder that lies among the images, and for a given
            split with leaks unless ``config.allow_leaks``.
    """
    refuse_inside_data(out, config.data)
    manifest = read_manifest(
        config.data,
        path_column=config.path_column,
        label_column=config.label_column,
        group_column=config.group_column,
        split_column=config.split_column,
    )
    refuse_inside_data(out, config.data, manifest.table["path"])
    for left_out in manifest.left_out:
        display.note(str(left_out))
    checked, bad = check_files(
        manifest,
        max_pixels=config.max_pixels,
        cache=cache_directory(),
        progress=display.stage("checking images"),
    )
    if (range_ := intensity_range_of(config)) is not None:
        checked = replace(checked, intensity_range=range_)
    for file in bad:
        display.note(f"left out: {file.path}: {file.reason}")
    require_readable(bad, len(manifest), config.max_unreadable)
    if config.group_pattern is not None:
        checked = apply_group_pattern(checked, config.group_pattern)
    found = audit(
        checked,
        near_duplicates=config.near_duplicates,
        max_pixels=config.max_pixels,
        cache=cache_directory(),
        decisions=[] if config.decisions is None else [Path(config.decisions)],
        progress=display.stage,
    )
    display.note(_in_one_line(found))
    if text := _near_constant(found):
        display.note(text)
    _refuse_leaks(found, config, display)
    return found


def _in_one_line(found: Audit) -> str:
    looked = "same picture, same photo" if found.near_duplicates else "same picture"
    joined = len(found) - len(found.members)
    if not joined:
        return f"audit: {len(found)} images, none of which belong together ({looked})"
    text = f"audit: {len(found)} images are {len(found.members)} groups ({looked}"
    text += ", groups of yours)" if found.manifest.table["group"].any() else ")"
    if found.grouping.oversized:
        text += f"; {len(found.grouping.oversized)} so large that they may be wrong: excite audit shows them"
    if found.conflicts:
        near_duplicates = "1 photo" if len(found.conflicts) == 1 else f"{len(found.conflicts)} photos"
        text += f"; {near_duplicates} under two labels"
    return text


def _near_constant(found: Audit) -> str:
    """Images that show nothing: black, white, or a covered lens; "" if there are none."""
    flat = [file for file in found.files.odd if file.kind == "near-constant"]
    if not flat:
        return ""
    text = f"warning: {len(flat)} of {len(found)} images are nearly constant, such as {flat[0].path}"
    return text + (" (their intensity range may be wrong: see --intensity-range)" if found.deep else "")


def _refuse_leaks(found: Audit, config: TrainConfig, display: Display) -> None:
    if not found.leaks or config.split not in ("auto", "folder") or config.folds is not None:
        return
    told = ", ".join(
        f"{count} of {found.leaks.totals[split]} {split} images"
        for split, count in found.leaks.images.items()
        if split != "train" and count
    )
    what = f"{told} have a copy in another part of the split that the data gives"
    if not config.allow_leaks:
        look = command_line("excite", "audit", Path(config.data))
        hint = f"{look} shows them; --split grouped splits anew; --allow-leaks trains"
        raise ExciteError(what, where=config.data, hint=hint)
    display.note(f"leaks allowed: {what}")
