"""The evaluation of predictions of several labels: metrics, calibration, thresholds, subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.label_calibration import LabelCalibration
from excite.evaluation.label_measure import label_reliability, measure_labels
from excite.evaluation.label_predictions import LabelPredictions
from excite.evaluation.label_thresholds import F1, LabelThreshold, choose_label_thresholds
from excite.evaluation.subgroups import SMALL, subgroup_rows

IN_SUBGROUPS = ("auroc", "average_precision", "f1", "log_loss")  # macro averages


@dataclass(frozen=True)
class LabelSpec:
    """What to evaluate in addition to the metrics.

    Args:
        rule: of the thresholds, ``f1`` or ``half``.
        sensitivity, specificity: required of every label; neither: the rule.
        subgroups: columns whose values form subgroups.
    """

    rule: str = F1
    sensitivity: float | None = None
    specificity: float | None = None
    subgroups: tuple[str, ...] = ()

    def choose(self, validation: LabelPredictions) -> tuple[LabelThreshold, ...]:
        """The thresholds, chosen on validation images. Raises: ExciteError as ``choose_label_thresholds``."""
        return choose_label_thresholds(
            validation, rule=self.rule, sensitivity=self.sensitivity, specificity=self.specificity
        )


def evaluate_labels(
    predictions: LabelPredictions,
    spec: LabelSpec,
    *,
    calibration: LabelCalibration | None = None,
    thresholds: Sequence[LabelThreshold] | None = None,
    columns: Mapping[str, Sequence[object]] | None = None,
) -> dict[str, Any]:
    """The metrics of one set of images, as stored under its name in ``metrics.json``.

    Args:
        predictions: calibrated, with their thresholds.
        spec: what to evaluate in addition.
        calibration: of the predictions, to report the metrics without and with it; None: skip this report.
        thresholds: how the thresholds were chosen; None: unknown.
        columns: the values (N,) of each column in ``spec.subgroups``.

    Returns:
        what ``measure_labels`` returns and, if applicable: ``calibration``, ``thresholds``, ``subgroups``.

    Raises:
        ExciteError: for a column that is missing, or has too many values.
    """
    metrics = measure_labels(predictions)
    if calibration is not None:
        metrics["calibration"] = _before_and_after(predictions, calibration)
    if thresholds is not None:
        metrics["thresholds"] = [each.to_dict() for each in thresholds]
    if spec.subgroups:
        values = columns or {}
        metrics["subgroups"] = [_subgroups(predictions, values[name], name) for name in spec.subgroups]
    return metrics


def _before_and_after(predictions: LabelPredictions, calibration: LabelCalibration) -> dict[str, Any]:
    """Macro log loss and Brier score without and with the calibration, and the bins of both diagrams."""
    names = predictions.classes
    result: dict[str, Any] = {
        "temperature": dict(zip(names, calibration.temperature, strict=True)),
        "intercept": dict(zip(names, calibration.intercept, strict=True)),
    }
    for when, one in (("before", calibration.inverse.apply(predictions)), ("after", predictions)):
        macro = measure_labels(one, intervals=False)["macro"]
        bins = label_reliability(one)
        result[when] = {name: macro[name] for name in ("log_loss", "brier")} | {"reliability": bins}
    return result


def _subgroups(predictions: LabelPredictions, values: Sequence[object], name: str) -> dict[str, Any]:
    """The macro averages of the images with each value of a column."""
    if len(values) != len(predictions):
        what = f"{len(values)} values for {len(predictions)} images"
        raise ExciteError(what, where=name, exit_code=BAD_USAGE)
    rows = []
    for value, mask in subgroup_rows(values, name):
        measured = measure_labels(predictions.take(np.asarray(mask)))
        rows.append(
            {
                "value": value,
                "n": measured["n"],
                "groups": measured["groups"],
                "small": measured["groups"] < SMALL,
                **{metric: measured["macro"][metric] for metric in IN_SUBGROUPS},
            }
        )
    return {"column": name, "rows": rows}
