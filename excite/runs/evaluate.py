"""A run's classifier on images that it was not trained with."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from excite.data.csv_table import read_table
from excite.data.file_validation import check_files, require_readable
from excite.data.intensity import range_warning
from excite.data.manifest import Manifest, normalize_name
from excite.data.paths import absolute_path, is_same_path, refuse_inside_data
from excite.data.pixel_cache import cached_pixels
from excite.data.reading import read_manifest
from excite.data.sources import PixelSubset
from excite.data.split import apply_group_pattern
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.evaluate import EvaluationSpec, evaluate_predictions
from excite.evaluation.predictions import Predictions, read_predictions
from excite.runs.classifier import Classifier
from excite.runs.derive import column_names, evaluation_spec_of
from excite.runs.prediction_table import predictions_of
from excite.runs.run import Run, refuse_run_folder
from excite.runs.training_overlap import SeenImage, duplicates_in_train, seen_in_training
from excite.system.cache import cache_directory
from excite.system.progress import Display
from excite.system.text import command_line


@dataclass(frozen=True)
class Evaluation:
    """Figures of a set of images and the predictions behind them.

    Args:
        split: what the set is called: test, val, train, or all.
        metrics: as in ``metrics.json``.
        predictions: what was said of each image.
        unseen: those of images that the training has not seen; None where that is not known, as for a
            table of predictions, or where it is none of them.
        seen: the other images, each with its counterpart in training.
    """

    split: str
    metrics: dict[str, Any]
    predictions: Predictions
    unseen: Predictions | None = None
    seen: tuple[SeenImage, ...] = ()


def evaluate_run(
    run: Run,
    data: str | None = None,
    *,
    split: str | None = None,
    spec: EvaluationSpec | None = None,
    mapping: Mapping[str, str] | None = None,
    group_pattern: str | None = None,
    columns: Mapping[str, str] | None = None,
    device: str = "cpu",
    max_unreadable: float = 0.01,
    out: Path | None = None,
    display: Display | None = None,
) -> Evaluation:
    """Measure a run's classifier.

    Args:
        data: a folder or CSV as for training; None: the run's own images.
        split: which part of it; None: ``test`` where the data has one, else all.
        questions: what is asked beside the usual figures; None: what the training was asked.
        mapping: classes of the data that are another one of the run's, such as Chickenpox -> Others.
        group_pattern: takes the groups of the data from its file names, see ``apply_group_pattern``. The
            run's own pattern belongs to the data that it was trained on, and is not used here.
        columns: ``path_column``, ``label_column``, ``group_column``, ``split_column`` of a CSV.
        max_unreadable: largest share of unreadable files to go on with.
        out: the folder that will be written; a run's, and one among the images, is refused.

    Raises:
        ExciteError: if a class of the data is none of the run's, or the run's test images have changed; and
            for a cross-validation's own images, all of which most of its members have seen.
    """
    display = display or Display()
    if out is not None:
        refuse_run_folder(out)
    config = run.config
    if data is None and config.folds is not None:
        what = "is a cross-validation: its own images are measured, each by a model that had not seen it"
        hint = "see report.html, or name other images: excite evaluate RUN DATA"
        raise ExciteError(what, where=run.path, hint=hint, exit_code=BAD_USAGE)
    classifier = Classifier.load(run, device=device)
    spec = spec or evaluation_spec_of(config)
    before = run.manifest if data is None else read_manifest(data, complete=False, **(columns or {}))
    if out is not None:
        refuse_inside_data(out, run.data_path, run.manifest.table["path"])
        refuse_inside_data(out, data or run.data_path, before.table["path"])
    grouped_by = "run"
    if data is not None:
        before, grouped_by = _grouped(before, group_pattern, (columns or {}).get("group_column", "group"))
        if grouped_by == "image":
            display.note(
                "each image counts as a group of its own; --group-pattern, or --group-column for a CSV, "
                "names the groups of this data"
            )
    for left_out in before.left_out:
        display.note(str(left_out))
    manifest = _aligned(before, classifier.classes, mapping or {}, data or run.path)
    spec = _answerable(spec, manifest, column_names(config.subgroups) if data else (), display)
    chosen = split or ("test" if "test" in manifest.splits else "all")
    if chosen != "all":
        if chosen not in manifest.splits:
            known = (*manifest.splits, "all")
            raise unknown_name("split", chosen, known, where=data or run.path)
        manifest = manifest.part(chosen)
    checked, bad = check_files(
        manifest,
        max_pixels=config.max_pixels,
        cache=cache_directory(),
        progress=display.stage("checking images"),
        complete=False,
    )
    for file in bad:
        display.note(f"left out: {file.path}: {file.reason}")
    require_readable(bad, len(manifest), max_unreadable)
    trained_range = classifier.preprocessing.intensity_range
    if data is not None and (text := range_warning(checked.extremes, trained_range)):
        display.note(text)
    if data is None and (bad or not checked.table["sha256"].equals(manifest.table["sha256"])):
        raise ExciteError("its images are not what they were when it was trained", where=run.path)
    pixels = cached_pixels(
        checked, classifier.preprocessing, cache_directory(), progress=display.stage("decoding images")
    )
    predictions = predictions_of(checked, classifier.probabilities(PixelSubset(pixels)))
    validation = run.predicted("val") if spec.needs_validation else None

    def figures_of(rows: np.ndarray) -> dict[str, Any]:
        return evaluate_predictions(
            predictions.take(rows),
            spec,
            temperature=classifier.temperature,
            validation=validation,
            columns={name: checked.table[name][rows].tolist() for name in spec.subgroups},
        )

    figures = figures_of(np.ones(len(checked), dtype=bool)) | {"grouped_by": grouped_by}
    if data is None:
        figures["duplicates_in_train"] = duplicates_in_train(before, chosen)
        return Evaluation(chosen, figures, predictions)
    seen = seen_in_training(run, checked, display)
    _warn_of_seen(run, seen, len(checked), display)
    rows = ~np.isin(np.arange(len(checked)), [image.row for image in seen])
    figures["seen_in_training"] = len(seen)
    figures["seen_images"] = [image.to_dict() for image in seen]
    figures["without_seen"] = figures_of(rows) if rows.any() else {"n": 0, "groups": 0}
    return Evaluation(
        chosen, figures, predictions, predictions.take(rows) if rows.any() else None, tuple(seen)
    )


def _grouped(manifest: Manifest, pattern: str | None, column: str) -> tuple[Manifest, str]:
    """The manifest with its groups, and what names them: a pattern, a column, or nothing but the image."""
    if pattern is not None:
        return apply_group_pattern(manifest, pattern, strict=False), f"pattern {pattern}"
    return manifest, f"column {column}" if manifest.table["group"].any() else "image"


def _answerable(
    spec: EvaluationSpec, manifest: Manifest, asked_in_training: Collection[str], display: Display
) -> EvaluationSpec:
    """The questions without columns that only the training's data have; others must be there."""
    missing = [name for name in spec.subgroups if name not in manifest.table]
    for name in missing:
        if name not in asked_in_training:
            raise unknown_name("column", name, list(manifest.table.columns), where="--subgroups")
        display.note(f"there is no column {name!r} in this data: its values are not measured apart")
    return replace(spec, subgroups=tuple(name for name in spec.subgroups if name not in missing))


def evaluate_table(
    file: Path,
    spec: EvaluationSpec,
    *,
    validation: Path | None = None,
    group_column: str = "group",
    out: Path | None = None,
) -> Evaluation:
    """Measure anybody's predictions: a table with path, label and a column p:CLASS for each class.

    Args:
        validation: such a table of validation images, which thresholds are chosen with.
        out: the folder that will be written; a run's, one among the images, and one in which a table that is
            read would be written over, is refused.

    Raises:
        ExciteError: as ``read_predictions`` and ``judge``, and for a column that the table does not have.
    """
    predictions = read_predictions(file, group=group_column)
    if out is not None:
        refuse_run_folder(out)
        _refuse_same_table(out, [file] if validation is None else [file, validation])
        images = [str(absolute_path(path, file.parent)) for path in predictions.paths or ()]
        refuse_inside_data(out, file, [image for image in images if Path(image).is_file()])
    columns = {}
    if spec.subgroups:
        table = read_table(file).frame()
        for name in spec.subgroups:
            if name not in table:
                raise unknown_name("column", name, list(table.columns), where="--subgroups")
            columns[name] = table[name].tolist()
    held = None if validation is None else read_predictions(validation, group=group_column)
    if held is not None and held.classes != predictions.classes:
        raise ExciteError("has other classes than the table to be measured", where=validation)
    return Evaluation(
        "table", evaluate_predictions(predictions, spec, validation=held, columns=columns), predictions
    )


def _refuse_same_table(out: Path, tables: Sequence[Path]) -> None:
    """Raises: ExciteError where the table that is written would take the place of one that is read."""
    for table in tables:
        if is_same_path(str(table), str(out / "predictions.csv")):
            what = "would be written over by the evaluation"
            raise ExciteError(what, where=table, hint="name another folder with --out", exit_code=BAD_USAGE)


def _warn_of_seen(run: Run, seen: Sequence[SeenImage], n: int, display: Display) -> None:
    if seen:
        whom = "" if run.config.folds is None else " by most members of the ensemble"
        text = f"{len(seen)} of {n} images were seen in training{whom}, as they are or as other copies"
        display.note(f"{text}; the metrics are optimistic; the first is {seen[0].path}")


def _aligned(
    manifest: Manifest, classes: tuple[str, ...], mapping: Mapping[str, str], where: object
) -> Manifest:
    """The manifest with the run's classes in the run's order."""
    mapping = {normalize_name(theirs): normalize_name(ours) for theirs, ours in mapping.items()}
    classes = tuple(map(normalize_name, classes))
    for theirs, ours in mapping.items():
        if theirs not in manifest.classes:
            raise unknown_name("class", theirs, manifest.classes, where=f"--map-class {theirs}={ours}")
        if ours not in classes:
            raise unknown_name("class", ours, classes, where=f"--map-class {theirs}={ours}")
    labels = [mapping.get(label, label) for label in manifest.table["label"]]
    if strangers := sorted(set(labels) - set(classes)):
        near = difflib.get_close_matches(strangers[0], classes, n=1) or classes[-1:]
        option = command_line("--map-class", f"{strangers[0]}={near[0]}")
        hint = f"say what it is with {option}, or leave it out"
        named = ", ".join(repr(name) for name in strangers[:12])
        what = f"class {named} is" if len(strangers) == 1 else f"classes {named} are"
        what += f" none of the run's: {', '.join(classes[:12])}"
        raise ExciteError(what, where=where, hint=hint, exit_code=BAD_USAGE)
    return Manifest(manifest.table.assign(label=labels), classes, manifest.left_out)
