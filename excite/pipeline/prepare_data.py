"""Training data: checked, audited, and grouped, so that copies of one photo stay in one split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from excite.audit.audit import Audit, audit
from excite.config.train_config import TrainConfig
from excite.data.file_validation import read_checked
from excite.data.group_columns import group_columns_text
from excite.data.paths import refuse_inside_data
from excite.data.reading import read_manifest
from excite.errors import ExciteError
from excite.pipeline.resolve_model import check_names
from excite.pipeline.summary_lines import data_line
from excite.runs.derive import intensity_range_of
from excite.system.cache import cache_directory
from excite.system.progress import Display
from excite.system.text import command_line


def prepare_data(config: TrainConfig, out: Path, display: Display) -> Audit:
    """Read, check, and audit the images of ``config.data``.

    Args:
        config: the options.
        out: the folder that will be written.
        display: the progress display.

    Returns:
        the audit; its ``grouped()`` are the images to train on.

    Raises:
        ExciteError: for data that cannot be trained on, for a folder among the images, and, unless
            ``config.allow_leaks``, for a given split with leaks.
    """
    check_names(config)
    refuse_inside_data(out, config.data)
    with display.waiting("reading the data set"):
        manifest = read_manifest(config.data, complete=True, **config.table_options())
    refuse_inside_data(out, config.data, manifest.table["path"])
    checked, _ = read_checked(
        manifest,
        max_unreadable=config.max_unreadable,
        max_pixels=config.max_pixels,
        cache=cache_directory(),
        display=display,
        group_pattern=config.group_pattern,
    )
    if (range_ := intensity_range_of(config)) is not None:
        checked = replace(checked, intensity_range=range_)
    audited = audit(
        checked,
        near_duplicates=config.near_duplicates,
        max_pixels=config.max_pixels,
        cache=cache_directory(),
        decisions=[] if config.decisions is None else [Path(config.decisions)],
        progress=display.stage,
    )
    if text := group_columns_text(checked):
        display.note(text)
    display.fact("data", data_line(audited))
    if text := _near_constant(audited):
        display.note(text)
    _refuse_leaks(audited, config, display)
    return audited


def _near_constant(audited: Audit) -> str:
    """A warning of images that show nothing: black, white, or a covered lens; "" if there are none."""
    flat = [file for file in audited.files.odd if file.kind == "near-constant"]
    if not flat:
        return ""
    text = f"warning: {len(flat)} of {len(audited)} images are nearly constant, such as {flat[0].path}"
    if any(each.format == "DICOM" for each in audited.metadata):
        return f"{text} (their window may be wrong: see --window)"
    return text + (" (their intensity range may be wrong: see --intensity-range)" if audited.deep else "")


def _refuse_leaks(audited: Audit, config: TrainConfig, display: Display) -> None:
    if not audited.leaks or config.split not in ("auto", "folder") or config.folds is not None:
        return
    counts = ", ".join(
        f"{count} of {audited.leaks.totals[split]} {split} images"
        for split, count in audited.leaks.images.items()
        if split != "train" and count
    )
    what = f"{counts} have a near-duplicate in another part of the given split"
    if not config.allow_leaks:
        show = command_line("excite", "audit", Path(config.data))
        hint = f"{show} shows them, --split grouped draws a new split, --allow-leaks trains with them"
        raise ExciteError(what, where=config.data, hint=hint)
    display.note(f"leaks allowed: {what}")
