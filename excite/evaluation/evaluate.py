"""The evaluation of one set of predictions: metrics, calibration, threshold, abstention, subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.abstention import choose_confidence, with_abstention
from excite.evaluation.calibration import Calibration
from excite.evaluation.measure import measure
from excite.evaluation.operating_point import OperatingPoint, at_threshold, choose_threshold
from excite.evaluation.prediction_sets import PredictionSets
from excite.evaluation.predictions import Predictions
from excite.evaluation.reliability import before_and_after, class_calibration
from excite.evaluation.set_metrics import measure_sets
from excite.evaluation.subgroups import subgroups

SENSITIVITY = 0.95  # default criterion if there is a positive class


@dataclass(frozen=True)
class EvaluationSpec:
    """What to evaluate in addition to the metrics.

    Args:
        positive: the positive class of the operating point; None: no operating point.
        sensitivity, specificity: criterion of the threshold; neither: a sensitivity of 0.95.
        abstain_below: confidence below which the classifier abstains.
        selective_accuracy: choose this confidence on validation images, to reach a selective accuracy.
        subgroups: columns whose values form subgroups.
        ordinal: the classes from the lowest to the highest, see ``ordinal.complete_order``; (): no order.
    """

    positive: str | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    abstain_below: float | None = None
    selective_accuracy: float | None = None
    subgroups: tuple[str, ...] = ()
    ordinal: tuple[str, ...] = ()

    def without_validation(self) -> EvaluationSpec:
        """The specification without the parts that need validation images."""
        return replace(self, positive=None, selective_accuracy=None)


def evaluate_predictions(
    predictions: Predictions,
    spec: EvaluationSpec,
    *,
    calibration: Calibration | None = None,
    sets: PredictionSets | None = None,
    point: OperatingPoint | None = None,
    validation: Predictions | None = None,
    columns: Mapping[str, Sequence[object]] | None = None,
) -> dict[str, Any]:
    """The metrics of one set of images, as stored under its name in ``metrics.json``.

    Args:
        predictions: calibrated. With an operating point its threshold decides the predicted class, from which
            accuracy, confusion matrix, and the metrics of the classes are computed.
        spec: what to evaluate in addition to the metrics.
        calibration: of the predictions, to report the metrics without and with it; None: skip this report.
        sets: the classifier's prediction sets, to measure them; None: skip this report.
        point: the operating point of ``spec.positive``; None: choose it on the validation images.
        validation: calibrated predictions of the validation images; thresholds are chosen on them.
        columns: the values (N,) of each column in ``spec.subgroups``.

    Returns:
        what ``measure`` returns and, if applicable: ``photos``, the metrics per photo if several images are
        copies of the same photo; ``class_calibration``; ``calibration`` (see ``before_and_after``);
        ``prediction_sets`` (see ``measure_sets``); ``operating_point`` with ``chosen``, on the validation
        images, and ``test``, on these images; ``abstention``; ``subgroups``.

    Raises:
        ExciteError: for an unknown class or column, a criterion that cannot be reached, or a threshold to
            choose without validation predictions.
    """
    if validation is None and (spec.selective_accuracy is not None or (spec.positive and point is None)):
        what = "choosing a threshold needs predictions of validation images"
        raise ExciteError(what, hint="provide them with --validation", exit_code=BAD_USAGE)
    if spec.positive is not None and point is None and validation is not None:
        point = choose_point(validation, spec)
    if spec.ordinal:
        predictions = predictions.with_order(spec.ordinal)
    if point is not None:
        predictions = predictions.with_rule(point.rule)
        validation = None if validation is None else validation.with_rule(point.rule)
    metrics = measure(predictions)
    if predictions.has_copies:
        metrics["photos"] = measure(predictions.by_photo())
    metrics["class_calibration"] = class_calibration(predictions)
    if calibration is not None:
        metrics["calibration"] = before_and_after(calibration.inverse.apply(predictions), calibration)
    if sets is not None:
        metrics["prediction_sets"] = measure_sets(predictions, sets)
    if point is not None:
        metrics["operating_point"] = {
            "chosen": asdict(point),
            "test": at_threshold(predictions, point.label, point.threshold),
        }
    threshold = spec.abstain_below
    if spec.selective_accuracy is not None and validation is not None:
        threshold = choose_confidence(validation, spec.selective_accuracy)
    if threshold is not None:
        metrics["abstention"] = with_abstention(predictions, threshold)
    if spec.subgroups:
        values = columns or {}
        metrics["subgroups"] = [subgroups(predictions, values[name], name=name) for name in spec.subgroups]
    return metrics


def choose_point(validation: Predictions, spec: EvaluationSpec) -> OperatingPoint:
    """The threshold of ``spec.positive``; the default criterion is a sensitivity of 0.95.

    Raises: ExciteError as ``choose_threshold``.
    """
    assert spec.positive is not None
    sensitivity = spec.sensitivity
    if sensitivity is None and spec.specificity is None:
        sensitivity = SENSITIVITY
    return choose_threshold(validation, spec.positive, sensitivity=sensitivity, specificity=spec.specificity)
