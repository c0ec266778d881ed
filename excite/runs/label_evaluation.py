"""The evaluation of a classifier of several labels on a set of images, and of a table of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from excite.config.label_options import refuse_for_labels
from excite.config.train_config import EITHER, TrainConfig
from excite.data.labels import LABEL, UNKNOWN
from excite.data.manifest import Manifest, normalize_name
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.evaluate_labels import LabelSpec, evaluate_labels
from excite.evaluation.label_calibration import LabelCalibration
from excite.evaluation.label_predictions import LabelPredictions, read_label_predictions
from excite.evaluation.label_thresholds import LabelThreshold
from excite.runs.classifier import Classifier
from excite.runs.derive import label_spec_of
from excite.runs.label_table import label_predictions_of
from excite.runs.run import Run

CRITERION = ("rule", "sensitivity", "specificity")  # of the thresholds


def changed_label_spec(config: TrainConfig, changes: Mapping[str, Any]) -> LabelSpec:
    """The spec of a configuration with some options changed; a criterion clears the others.

    Raises:
        ExciteError: for invalid options, and those of one class per image.
    """
    for one, other, _ in EITHER:
        if one in changes or other in changes:
            config = config.replace(**{one: None, other: None})
    if "label_threshold" in changes:
        config = config.replace(sensitivity=None, specificity=None)
    config = config.replace(**changes)
    refuse_for_labels(config)
    return label_spec_of(config)


def align_labels(
    manifest: Manifest,
    labels: tuple[str, ...],
    mapping: Mapping[str, str],
    where: object,
    *,
    missing: int = UNKNOWN,
) -> tuple[Manifest, list[str]]:
    """The manifest with the run's labels, in the run's order, and the names of its other labels.

    Args:
        mapping: label of the data -> label of the run.
        missing: the value of a label that the data lacks: unknown, or absent where labels are listed by name.

    Raises:
        ExciteError: if the data has none of the labels, and for a mapping from or to an unknown label.
    """
    if manifest.task != "multilabel":
        what = "has one class per image; the run has several labels"
        more = ",..." if len(labels) > 3 else ""
        hint = f"--label-columns {','.join(labels[:3])}{more} names their columns"
        raise ExciteError(what, where=where, hint=hint, exit_code=BAD_USAGE)
    named = {normalize_name(theirs): normalize_name(ours) for theirs, ours in mapping.items()}
    for theirs, ours in named.items():
        if theirs not in manifest.classes:
            raise unknown_name("label", theirs, manifest.classes, where=f"--map-class {theirs}={ours}")
        if ours not in labels:
            raise unknown_name("label", ours, labels, where=f"--map-class {theirs}={ours}")
    theirs_of = {named.get(name, name): name for name in manifest.classes}
    if not set(theirs_of) & set(labels):
        what = f"has none of the run's labels: {', '.join(labels[:12])}"
        hint = "map a label with --map-class THEIRS=OURS"
        raise ExciteError(what, where=where, hint=hint, exit_code=BAD_USAGE)
    values = {LABEL + name: manifest.table[LABEL + theirs_of[name]] for name in labels if name in theirs_of}
    columns = {LABEL + name: values.get(LABEL + name, missing) for name in labels}
    table = manifest.table.drop(columns=[LABEL + name for name in manifest.classes]).assign(**columns)
    others = [name for name in theirs_of if name not in labels]
    return Manifest(table, labels, manifest.left_out), others


class LabelEvaluator:
    """Measures a run's classifier of several labels on images.

    Args:
        run: a finished run.
        classifier: its classifier.
        spec: what to evaluate.
        images: N images.
        probabilities: (N, L).
    """

    def __init__(
        self, run: Run, classifier: Classifier, spec: LabelSpec, images: Manifest, probabilities: np.ndarray
    ) -> None:
        self.spec, self.images, self.calibration = spec, images, classifier.calibration
        trained = label_spec_of(run.config)
        chosen = classifier.label_thresholds
        if chosen is None or any(getattr(spec, name) != getattr(trained, name) for name in CRITERION):
            chosen = spec.choose(run.predicted_labels("val"))
        self.thresholds: tuple[LabelThreshold, ...] = chosen
        limits = np.array([each.threshold for each in chosen])
        self.predictions = label_predictions_of(images, probabilities, limits)

    def metrics(self, rows: np.ndarray) -> dict[str, Any]:
        """The metrics of the images in a mask (N,)."""
        assert isinstance(self.calibration, LabelCalibration)
        columns = {name: self.images.table[name][rows].tolist() for name in self.spec.subgroups}
        return evaluate_labels(
            self.predictions.take(rows),
            self.spec,
            calibration=self.calibration,
            thresholds=self.thresholds,
            columns=columns,
        )


def evaluate_label_table(
    file: Path,
    spec: LabelSpec,
    columns: Mapping[str, Sequence[object]],
    *,
    validation: Path | None = None,
    group_column: str = "group",
) -> tuple[LabelPredictions, dict[str, Any]]:
    """Evaluate a table of predictions of several labels; see ``read_label_predictions``.

    Args:
        spec: thresholds, and subgroups.
        columns: the values of the columns of subgroups.
        validation: a table of validation images, which choose the thresholds; None: those of the table.

    Raises:
        ExciteError: also for a required sensitivity or specificity without validation images.
    """
    predictions, thresholds = read_label_predictions(file, group=group_column), None
    if validation is None and (spec.sensitivity is not None or spec.specificity is not None):
        what = "choosing a threshold needs predictions of validation images"
        raise ExciteError(what, hint="provide them with --validation", exit_code=BAD_USAGE)
    if validation is not None:
        held = read_label_predictions(validation, group=group_column)
        if held.classes != predictions.classes:
            raise ExciteError("has different labels than the table to evaluate", where=validation)
        thresholds = spec.choose(held)
        limits = np.array([each.threshold for each in thresholds])
        predictions = predictions.with_thresholds(limits)
    return predictions, evaluate_labels(predictions, spec, thresholds=thresholds, columns=columns)
