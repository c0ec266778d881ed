"""Evaluate a run's classifier, or a table of predictions from any source.

This module loads the images and predicts; ``excite.evaluation.evaluate`` computes the metrics.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from excite.data.csv_table import read_table
from excite.data.manifest import Manifest
from excite.data.paths import absolute_path, is_same_path, refuse_inside_data
from excite.data.patients import PREFIX
from excite.data.pixel_cache import cached_pixels
from excite.data.sources import PixelSubset
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.evaluate import EvaluationSpec, choose_point, evaluate_predictions
from excite.evaluation.metrics_table import metrics_table
from excite.evaluation.operating_point import OperatingPoint
from excite.evaluation.prediction_sets import PredictionSets
from excite.evaluation.predictions import Predictions, read_predictions
from excite.runs.classifier import Classifier
from excite.runs.derive import column_names, evaluation_spec_of
from excite.runs.evaluation_images import (
    DataOptions,
    align_classes,
    check_images,
    grouping_of,
    read_images,
    select_split,
)
from excite.runs.moved_data import require_images
from excite.runs.prediction_table import prediction_rows, predictions_of
from excite.runs.run import Run, refuse_run_folder
from excite.runs.training_overlap import SELECTED, SeenImage, duplicates_in_train, seen_in_training
from excite.system.cache import cache_directory
from excite.system.notebook import facts_html
from excite.system.progress import Display
from excite.system.text import shorter_path

SHOWN = ("accuracy", "balanced_accuracy", "auroc", "log_loss")  # metrics in the text of an evaluation
CRITERION = ("positive", "sensitivity", "specificity")  # of an operating point


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Metrics of a set of images, and the predictions that they are computed from.

    Args:
        split: test, val, train, or all; ``table`` for a table of predictions.
        metrics: as in ``metrics.json``.
        predictions: for all images.
        unseen: for the images that were not seen in training; None if there are none, or if it is not known,
            as for a table of predictions.
        seen: the other images, each with its counterpart in the training data.
    """

    split: str
    metrics: dict[str, Any]
    predictions: Predictions
    unseen: Predictions | None = None
    seen: tuple[SeenImage, ...] = ()

    def __repr__(self) -> str:
        """What was evaluated, in a few lines; ``metrics`` holds everything."""
        metrics = self.metrics
        images = "1 image" if metrics["n"] == 1 else f"{metrics['n']:,} images"
        groups = "" if metrics["groups"] == metrics["n"] else f" of {metrics['groups']:,} groups"
        lines = [f"Evaluation of {images}{groups} ({self.split})"]
        for name in SHOWN:
            value, low, high = (metrics[name].get(part) for part in ("value", "low", "high"))
            if value is not None:
                bounds = "" if low is None else f" ({low:.3f} to {high:.3f})"
                lines.append(f"  {name:<18}{value:.3f}{bounds}")
        if self.seen:
            lines.append(f"  {len(self.seen):,} images were seen in training")
        return "\n".join(lines)

    @property
    def table(self) -> pd.DataFrame:
        """``metrics`` as a DataFrame, see ``excite.evaluation.metrics_table``."""
        return metrics_table({self.split: self.metrics})

    @property
    def predictions_table(self) -> pd.DataFrame:
        """One row per image: path, label, group, photo, predicted, and ``p:CLASS`` for each class."""
        return pd.DataFrame(prediction_rows(self.predictions))

    def _repr_html_(self) -> str:
        title, *lines = repr(self).split("\n")
        return facts_html(title, [(line[:20].strip(), line[20:].strip()) for line in lines])


def evaluate_run(
    run: Run,
    data: str | None = None,
    *,
    split: str | None = None,
    spec: EvaluationSpec | None = None,
    options: DataOptions | None = None,
    device: str = "cpu",
    out: Path | None = None,
    display: Display | None = None,
) -> Evaluation:
    """Evaluate a run's classifier.

    Args:
        run: a finished run.
        data: a folder or CSV as for training; None: the run's own images.
        split: the split to evaluate; None: ``test`` if the data has one, else all images.
        spec: positive class, thresholds, and subgroups; None: those of the training.
        options: how ``data`` is read.
        device: where the network computes.
        out: the folder that will be written; a run folder, and one among the images, is refused.
        display: the progress display; None: none.

    Raises:
        ExciteError: for a class that the run does not have, for images of the run that have changed, and for
            a cross-validation's own images, which most of its members were trained on.
    """
    display, options = display or Display(), options or DataOptions()
    if out is not None:
        refuse_run_folder(out)
    config, where = run.config, data or run.path
    if data is None and config.folds is not None:
        what = (
            "is a cross-validation: each of its images was evaluated by a network that was not trained on it"
        )
        hint = "see report.html, or evaluate other images: excite evaluate RUN DATA"
        raise ExciteError(what, where=run.path, hint=hint, exit_code=BAD_USAGE)
    classifier = Classifier.load(run, device=device)
    manifest, grouped_by = read_images(run, data, options, out)
    if data is None:
        require_images(run, select_split(manifest, split, where)[0].table["path"].tolist())
    manifest = align_classes(manifest, classifier.classes, options.mapping, where)
    trained_columns = column_names(config.subgroups) if data else ()
    spec = _with_known_columns(spec or evaluation_spec_of(config), manifest, trained_columns, display)
    images, split = select_split(manifest, split, where)
    images = check_images(
        run,
        images,
        own=data is None,
        max_unreadable=options.max_unreadable,
        trained_range=classifier.preprocessing.intensity_range,
        display=display,
    )
    grouped_by = grouping_of(images, grouped_by, display)
    pixels = cached_pixels(
        images, classifier.preprocessing, cache_directory(), progress=display.stage("decoding images")
    )
    point = _point_for(spec, run, classifier)
    with display.waiting("classifying images"):
        predictions = predictions_of(images, classifier.probabilities(PixelSubset(pixels)))
    predictions = predictions.with_rule(None if point is None else point.rule)
    validation = run.predicted("val") if spec.selective_accuracy is not None else None

    def metrics_of(rows: np.ndarray) -> dict[str, Any]:
        with display.waiting("computing metrics and intervals"):
            return evaluate_predictions(
                predictions.take(rows),
                spec,
                calibration=classifier.calibration,
                sets=classifier.sets,
                point=point,
                validation=validation,
                columns={name: images.table[name][rows].tolist() for name in spec.subgroups},
            )

    metrics = metrics_of(np.ones(len(images), dtype=bool)) | {"grouped_by": grouped_by}
    if data is None:
        metrics["duplicates_in_train"] = duplicates_in_train(manifest, split)
        return Evaluation(split, metrics, predictions)
    seen = seen_in_training(run, images, display)
    _report_seen(run, seen, images, display)
    rows = ~np.isin(np.arange(len(images)), [image.row for image in seen])
    metrics |= _seen_metrics(seen) | {"known_patients": int(of_known_patients(run, images).sum())}
    metrics["without_seen"] = metrics_of(rows) if rows.any() else {"n": 0, "groups": 0}
    unseen = predictions.take(rows) if rows.any() else None
    return Evaluation(split, metrics, predictions, unseen, tuple(seen))


def _seen_metrics(seen: Sequence[SeenImage]) -> dict[str, Any]:
    """How many images were seen in training, how many of them for selection only, and which."""
    return {
        "seen_in_training": len(seen),
        "seen_in_selection": sum(image.use == SELECTED for image in seen),
        "seen_images": [image.to_dict() for image in seen],
    }


def _point_for(spec: EvaluationSpec, run: Run, classifier: Classifier) -> OperatingPoint | None:
    """The classifier's own operating point, or for another class or criterion one for it."""
    if spec.positive is None:
        return None
    trained = evaluation_spec_of(run.config)
    if all(getattr(spec, name) == getattr(trained, name) for name in CRITERION):
        return classifier.operating_point
    return choose_point(run.predicted("val"), spec)


def _with_known_columns(
    spec: EvaluationSpec, manifest: Manifest, trained_columns: Collection[str], display: Display
) -> EvaluationSpec:
    """The spec without subgroups of the training that this data lacks.

    Raises:
        ExciteError: for a subgroup that neither has.
    """
    missing = [name for name in spec.subgroups if name not in manifest.table]
    for name in missing:
        if name not in trained_columns:
            raise unknown_name("column", name, list(manifest.table.columns), where="--subgroups")
        display.note(f"the data has no column {name!r}: its subgroups are not evaluated")
    return replace(spec, subgroups=tuple(name for name in spec.subgroups if name not in missing))


def of_known_patients(run: Run, images: Manifest) -> np.ndarray:
    """(N,) whether an image is of a patient whose DICOM files the run was trained on, also for selection."""
    used = run.manifest.table
    used = used if run.config.folds is not None else used[used["split"] != "test"]
    # The audit joins the names of patients who share a near-duplicate.
    known = {name for group in used["group"] for name in group.split("+") if name.startswith(PREFIX)}
    return images.table["group"].isin(known).to_numpy()


def _report_seen(run: Run, seen: Sequence[SeenImage], images: Manifest, display: Display) -> None:
    n = len(images)
    if known := int(of_known_patients(run, images).sum()):
        text = f"{known} of {n} images are of patients that the run was trained on"
        display.note(f"{text}; the metrics are optimistic")
    if seen:
        members = "" if run.config.folds is None else " by most members of the ensemble"
        text = f"{len(seen)} of {n} images were seen in training{members}, as exact or near-duplicates"
        if selected := sum(image.use == SELECTED for image in seen):
            text += f", {selected} of them for selection only"
        display.note(f"{text}; the metrics are optimistic; the first is {shorter_path(seen[0].path)}")


def evaluate_table(
    file: Path,
    spec: EvaluationSpec,
    *,
    validation: Path | None = None,
    group_column: str = "group",
    out: Path | None = None,
) -> Evaluation:
    """Evaluate a table of predictions: path, label, and a column ``p:CLASS`` for each class.

    Args:
        file: the table, a CSV.
        spec: positive class, thresholds, and subgroups.
        validation: a table of validation images, which choose the thresholds.
        group_column: the column with groups.
        out: the folder that will be written; a run folder, one among the images, and one where the result
            would overwrite a table that is read, is refused.

    Raises:
        ExciteError: as ``read_predictions`` and ``evaluate_predictions``, and for a missing column.
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
        raise ExciteError("has different classes than the table to evaluate", where=validation)
    sets = None if held is None else PredictionSets.fit(held)
    if spec.positive is not None and held is not None:
        point = choose_point(held, spec)
        predictions = predictions.with_rule(point.rule)
    metrics = evaluate_predictions(predictions, spec, sets=sets, validation=held, columns=columns)
    return Evaluation("table", metrics, predictions)


def _refuse_same_table(out: Path, tables: Sequence[Path]) -> None:
    """Raises: ExciteError if the result would overwrite a table that is read."""
    for table in tables:
        if is_same_path(str(table), str(out / "predictions.csv")):
            what = "would be overwritten by the evaluation"
            raise ExciteError(what, where=table, hint="choose another folder with --out", exit_code=BAD_USAGE)
