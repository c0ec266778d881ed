"""The images that a run is evaluated on: read, aligned with the run's classes, grouped, and checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from excite.config.task import MULTILABEL
from excite.config.train_config import TrainConfig
from excite.data.archives import is_archive
from excite.data.csv_table import read_table
from excite.data.file_validation import read_checked
from excite.data.group_columns import group_columns_text
from excite.data.intensity import IntensityRange, range_warning
from excite.data.labels import LABEL
from excite.data.manifest import Manifest, normalize_name
from excite.data.paths import refuse_inside_data
from excite.data.reading import read_manifest
from excite.data.split import apply_group_pattern
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.runs.run import Run
from excite.system.cache import cache_directory
from excite.system.progress import Display
from excite.system.text import command_line


@dataclass(frozen=True)
class DataOptions:
    """How data other than the run's own is read.

    Args:
        mapping: class of the data -> class of the run, where their names differ.
        group_pattern: takes groups from file names, see ``apply_group_pattern``. The run's own pattern is not
            used: it belongs to the data that the run was trained on.
        columns: ``path_column``, ``label_column``, ``group_column``, and ``split_column`` of a CSV; a default
            that the CSV lacks is replaced by the column of the training, if the CSV has that.
        max_unreadable: the largest fraction of unreadable files.
    """

    mapping: Mapping[str, str] = field(default_factory=dict)
    group_pattern: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    max_unreadable: float = 0.01


def read_images(run: Run, data: str | None, options: DataOptions, out: Path | None) -> tuple[Manifest, str]:
    """Images with their groups, and what defines the groups: ``run``, a pattern, a column, or ``image``.

    Groups of DICOM files are not known yet; see ``grouping_of``.

    Args:
        data: a folder or CSV; None: the run's own images.
        out: the folder that will be written, which must not be among the images.
    """
    manifest = run.manifest
    if data is not None:
        columns = table_options(run, data, options)
        manifest = read_manifest(data, complete=False, **columns)
    if out is not None:
        refuse_inside_data(out, run.data_path, run.manifest.table["path"])
        refuse_inside_data(out, data or run.data_path, manifest.table["path"])
    grouped_by = "run"
    if data is not None:
        manifest, grouped_by = _group(manifest, options, columns.get("group_column", "group"))
    return manifest, grouped_by


def table_options(run: Run, data: str, options: DataOptions) -> dict[str, str]:
    """How the columns of other data are read: as the options say, and else as in the training.

    Columns of the training that the data does not have are left out.
    """
    config = run.config
    columns = _trained_columns(config, data, options)
    if run.task != MULTILABEL or columns.get("label_columns") or columns.get("label_separator"):
        return columns
    if config.label_separator:
        label = columns.get("label_column", "label")
        default = TrainConfig.label_column
        return columns | {
            "label_separator": config.label_separator,
            "empty_label": config.empty_label,
            "label_column": config.label_column if label == default else label,
        }
    if config.label_columns and Path(data).is_file():
        header = read_table(data).header
        names = [name.strip() for name in config.label_columns.split(",")]
        if present := [name for name in names if name in header or LABEL + name in header]:
            columns["label_columns"] = ",".join(present)
    return columns


def _trained_columns(config: TrainConfig, data: str, options: DataOptions) -> dict[str, str]:
    """The columns of the options; where those are the defaults and absent, the columns of the training."""
    columns, file = dict(options.columns), Path(data)
    if not file.is_file() or is_archive(file):
        return columns
    header = read_table(data).header
    for name in ("path_column", "label_column", "group_column"):
        default, trained = getattr(TrainConfig, name), getattr(config, name)
        unnamed = columns.get(name, default) == default and default not in header
        if unnamed and trained in header and (name != "group_column" or options.group_pattern is None):
            columns[name] = trained
    return columns


def grouping_of(images: Manifest, grouped_by: str, display: Display) -> str:
    """What defines the groups of checked images: ``PatientID`` if it is that of DICOM files.

    Args:
        grouped_by: what ``read_images`` has found.
        display: gets a note if each image is a group of its own.
    """
    if grouped_by != "image":
        return grouped_by
    if images.table["group"].any():
        return "PatientID"
    display.note(
        "each image counts as a group of its own; define the groups of this data with "
        "--group-pattern, or --group-column for a CSV"
    )
    if text := group_columns_text(images):
        display.note(text)
    return grouped_by


def _group(manifest: Manifest, options: DataOptions, column: str) -> tuple[Manifest, str]:
    if options.group_pattern is not None:
        grouped = apply_group_pattern(manifest, options.group_pattern, strict=False)
        return grouped, f"pattern {options.group_pattern}"
    return manifest, f"column {column}" if manifest.table["group"].any() else "image"


def align_classes(
    manifest: Manifest, classes: tuple[str, ...], mapping: Mapping[str, str], where: object
) -> Manifest:
    """The manifest with the run's classes, in the run's order.

    Raises:
        ExciteError: for a class that the run does not have, and for a mapping from or to an unknown class.
    """
    mapping = {normalize_name(theirs): normalize_name(ours) for theirs, ours in mapping.items()}
    classes = tuple(map(normalize_name, classes))
    for theirs, ours in mapping.items():
        if theirs not in manifest.classes:
            raise unknown_name("class", theirs, manifest.classes, where=f"--map-class {theirs}={ours}")
        if ours not in classes:
            raise unknown_name("class", ours, classes, where=f"--map-class {theirs}={ours}")
    labels = [mapping.get(label, label) for label in manifest.table["label"]]
    if unknown := sorted(set(labels) - set(classes)):
        near = difflib.get_close_matches(unknown[0], classes, n=1) or classes[-1:]
        option = command_line("--map-class", f"{unknown[0]}={near[0]}")
        names = ", ".join(repr(name) for name in unknown[:12])
        what = f"class {names} is not a class" if len(unknown) == 1 else f"classes {names} are not classes"
        what += f" of the run: {', '.join(classes[:12])}"
        hint = f"map it with {option}, or leave out its images"
        raise ExciteError(what, where=where, hint=hint, exit_code=BAD_USAGE)
    return Manifest(manifest.table.assign(label=labels), classes, manifest.left_out)


def select_split(manifest: Manifest, split: str | None, where: object) -> tuple[Manifest, str]:
    """The images of a split and its name; None: ``test`` if there is one, else all.

    Raises:
        ExciteError: for a split that the data does not have.
    """
    name = split or ("test" if "test" in manifest.splits else "all")
    if name == "all":
        return manifest, name
    if name not in manifest.splits:
        raise unknown_name("split", name, (*manifest.splits, "all"), where=where)
    return manifest.part(name), name


def check_images(
    run: Run,
    manifest: Manifest,
    *,
    own: bool,
    max_unreadable: float,
    trained_range: IntensityRange | None,
    display: Display,
) -> Manifest:
    """The readable images, checked.

    Args:
        own: whether they are the run's own images, which must not have changed.
        trained_range: the intensity range that the run was trained with.

    Raises:
        ExciteError: for too many unreadable files, and for changed images of the run.
    """
    checked, unreadable = read_checked(
        manifest,
        max_unreadable=max_unreadable,
        max_pixels=run.config.max_pixels,
        cache=cache_directory(),
        display=display,
        complete=False,
    )
    if not own and (text := range_warning(checked.extremes, trained_range)):
        display.note(text)
    if own and (unreadable or not checked.table["sha256"].equals(manifest.table["sha256"])):
        hint = "name the images to evaluate: excite evaluate RUN DATA"
        raise ExciteError("its images have changed since the training", where=run.path, hint=hint)
    return checked
