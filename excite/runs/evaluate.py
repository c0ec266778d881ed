"""Evaluate a run's classifier, or a table of predictions from any source.

This module loads the images and predicts; ``excite.evaluation.evaluate`` computes the metrics.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from excite.config.task import MULTICLASS, MULTILABEL, Task
from excite.data.decoded_pixels import decoded_pixels
from excite.data.labels import ABSENT, UNKNOWN
from excite.data.manifest import Manifest
from excite.data.patients import PREFIX
from excite.data.sources import PixelSubset
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.evaluate import EvaluationSpec
from excite.evaluation.evaluate_labels import LabelSpec
from excite.evaluation.label_predictions import LabelPredictions
from excite.evaluation.metrics_table import metrics_table
from excite.evaluation.predictions import Predictions
from excite.runs.class_evaluation import ClassEvaluator
from excite.runs.classifier import Classifier
from excite.runs.derive import changed_evaluation_spec, column_names
from excite.runs.evaluation_images import (
    DataOptions,
    align_classes,
    check_images,
    grouping_of,
    read_images,
    select_split,
    table_options,
)
from excite.runs.label_evaluation import (
    LabelEvaluator,
    align_labels,
    changed_label_spec,
)
from excite.runs.label_table import label_prediction_rows
from excite.runs.moved_data import require_images
from excite.runs.prediction_table import prediction_rows
from excite.runs.run import Run, refuse_run_folder
from excite.runs.training_overlap import SELECTED, SeenImage, duplicates_in_train, seen_in_training
from excite.system.cache import cache_directory
from excite.system.notebook import facts_html
from excite.system.progress import Display
from excite.system.text import shorter_path

LABELS_SHOWN = ("auroc", "average_precision", "f1", "log_loss")  # likewise, of several labels
SHOWN = ("accuracy", "balanced_accuracy", "auroc", "log_loss")  # metrics in the text of an evaluation


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
    predictions: Predictions | LabelPredictions
    unseen: Predictions | LabelPredictions | None = None
    seen: tuple[SeenImage, ...] = ()

    @property
    def task(self) -> Task:
        """Whether an image has exactly one class, or any number of labels."""
        return MULTILABEL if isinstance(self.predictions, LabelPredictions) else MULTICLASS

    def __repr__(self) -> str:
        """What was evaluated, in a few lines; ``metrics`` holds everything."""
        metrics = self.metrics
        images = "1 image" if metrics["n"] == 1 else f"{metrics['n']:,} images"
        groups = "" if metrics["groups"] == metrics["n"] else f" of {metrics['groups']:,} groups"
        lines = [f"Evaluation of {images}{groups} ({self.split})"]
        figures = metrics
        if isinstance(self.predictions, LabelPredictions):
            lines[0] += f", {len(self.predictions.classes)} labels: means over labels"
            figures = metrics["macro"]
        for name in SHOWN if figures is metrics else LABELS_SHOWN:
            value, low, high = (figures[name].get(part) for part in ("value", "low", "high"))
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
        """One row per image, with the columns of ``predictions.csv``."""
        if isinstance(self.predictions, LabelPredictions):
            return pd.DataFrame(label_prediction_rows(self.predictions))
        return pd.DataFrame(prediction_rows(self.predictions))

    def _repr_html_(self) -> str:
        title, *lines = repr(self).split("\n")
        return facts_html(title, [(line[:20].strip(), line[20:].strip()) for line in lines])


def evaluate_run(
    run: Run,
    data: str | None = None,
    *,
    split: str | None = None,
    spec: EvaluationSpec | LabelSpec | None = None,
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
    if classifier.task == MULTILABEL:
        by_name = data is not None and table_options(run, data, options).get("label_separator")
        missing = ABSENT if by_name else UNKNOWN
        manifest, others = align_labels(manifest, classifier.classes, options.mapping, where, missing=missing)
        if others:
            display.note(f"labels that the run does not have are not evaluated: {', '.join(others[:12])}")
    else:
        manifest = align_classes(manifest, classifier.classes, options.mapping, where)
    trained_columns = column_names(config.subgroups) if data else ()
    spec = _with_known_columns(spec or changed_spec(run, {}), manifest, trained_columns, display)
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
    pixels = decoded_pixels(
        images, classifier.preprocessing, cache_directory(), progress=display.stage("decoding images")
    )
    with display.waiting("classifying images"):
        probabilities = classifier.probabilities(PixelSubset(pixels))
    evaluator = _evaluator(run, classifier, spec, images, probabilities)
    predictions = evaluator.predictions

    def metrics_of(rows: np.ndarray) -> dict[str, Any]:
        with display.waiting("computing metrics and intervals"):
            return evaluator.metrics(rows)

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


def changed_spec(run: Run, changes: Mapping[str, Any]) -> EvaluationSpec | LabelSpec:
    """What is evaluated of a run: as in its training, with some options changed.

    Raises:
        ExciteError: for invalid options, and those that are not of its task.
    """
    if run.task == MULTILABEL:
        return changed_label_spec(run.config, changes)
    return changed_evaluation_spec(run.config, changes)


def _evaluator(
    run: Run,
    classifier: Classifier,
    spec: EvaluationSpec | LabelSpec,
    images: Manifest,
    probabilities: np.ndarray,
) -> ClassEvaluator | LabelEvaluator:
    if isinstance(spec, LabelSpec):
        return LabelEvaluator(run, classifier, spec, images, probabilities)
    return ClassEvaluator(run, classifier, spec, images, probabilities)


def _with_known_columns(
    spec: EvaluationSpec | LabelSpec,
    manifest: Manifest,
    trained_columns: Collection[str],
    display: Display,
) -> EvaluationSpec | LabelSpec:
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
