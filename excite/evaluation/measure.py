"""The metrics of predictions, each with its interval, as in ``metrics.json``."""

from __future__ import annotations

from typing import Any

import numpy as np

from excite.errors import unknown_name
from excite.evaluation.calibrated_range import calibrated_range
from excite.evaluation.intervals import FEWEST_GROUPS, LEVEL, METHODS, RESAMPLES
from excite.evaluation.metric_intervals import ANALYTIC, INTERVAL_METHODS, MetricIntervals
from excite.evaluation.metrics import (
    CALIBRATION_ERRORS,
    ORDINAL,
    OVERALL,
    PER_CLASS,
    UNDEFINED_OVERALL,
    confusion,
    undefined_reason,
)
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums


def measure(
    predictions: Predictions,
    *,
    intervals: bool = True,
    method: str = ANALYTIC,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """All metrics of one set of images, as stored under the name of a split in ``metrics.json``.

    Args:
        intervals: whether to compute intervals, which takes most of the time.
        method: ``analytic``, or the bootstrap ``bca`` or ``percentile``, with lower coverage. Proportions
            always have Wilson's interval.
        level: level of the intervals.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.

    Returns:
        ``n`` images, ``groups``, ``interval`` (level, method, seed and, of a bootstrap, ``resamples``);
        ``low_group_count``, the classes with so few groups that intervals of means over classes may be too
        narrow; each metric of ``metric_names`` as ``{"value", "low", "high", "method"}``, with ``reason``
        instead if undefined; ``classes``: name -> ``n``, ``groups`` and each metric of ``metrics.PER_CLASS``;
        ``confusion``: (C, C) counts, rows are labels. The two calibration errors have ``calibrated``, the
        range expected of a calibrated classifier, instead of an interval. ``majority_class``: ``label`` and
        ``fraction`` of the most frequent class, which is the accuracy of always predicting it. With an order,
        ``order`` has the classes from the lowest to the highest.

    Raises:
        ExciteError: for an unknown method.
    """
    if method not in INTERVAL_METHODS:
        raise unknown_name("interval", method, INTERVAL_METHODS)
    table = GroupSums(predictions)
    point = table.point()
    result: dict[str, Any] = {"n": len(predictions), "groups": predictions.group_count}
    bounds = None
    if intervals:
        bounds = MetricIntervals(
            [predictions], [table], [point], method=method, level=level, resamples=resamples, seed=seed
        )
        result["interval"] = {"level": level, "method": method, "seed": seed}
        if method in METHODS:
            result["interval"]["resamples"] = resamples
    for name in metric_names(predictions):
        metric = _value(float(point.overall[name][0]), UNDEFINED_OVERALL.get(name, ""))
        if bounds and metric["value"] is not None:
            if name in CALIBRATION_ERRORS:
                low, high = calibrated_range(predictions, equal=name, level=level, seed=seed)
                metric["calibrated"] = {"low": low, "high": high}
            else:
                metric |= bounds.overall(name).to_dict()
        result[name] = metric
    true = table.true.sum(axis=1)
    result["low_group_count"], result["classes"] = [], {}
    for index, label in enumerate(predictions.classes):
        if 0 < table.groups_beside(index) < FEWEST_GROUPS:
            result["low_group_count"].append(label)
        row: dict[str, Any] = {"n": int(true[index]), "groups": int((table.true[[index]] > 0).sum())}
        for name in PER_CLASS:
            reason = undefined_reason(name, int(true[index]))
            row[name] = _value(float(point.classes[name][index, 0]), reason)
            if bounds and row[name]["value"] is not None:
                row[name] |= bounds.of_class(name, index).to_dict()
        result["classes"][label] = row
    largest = int(true.argmax())
    result["majority_class"] = {
        "label": predictions.classes[largest],
        "fraction": float(true[largest] / len(predictions)),
    }
    matrix = confusion(predictions.targets, predictions.predicted, len(predictions.classes))
    if predictions.order is not None:
        result["order"] = list(predictions.order)
    return result | {"confusion": matrix.tolist()}


def metric_names(predictions: Predictions) -> tuple[str, ...]:
    """The metrics over all classes: ``metrics.OVERALL``; if the classes have an order also ``ORDINAL``."""
    return OVERALL if predictions.order is None else OVERALL + ORDINAL


def _value(value: float, reason: str) -> dict[str, Any]:
    return {"value": None, "reason": reason} if np.isnan(value) else {"value": value}
