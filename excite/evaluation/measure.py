"""The metrics of predictions, each with its interval, as in ``metrics.json``."""

from __future__ import annotations

from typing import Any

import numpy as np

from excite.errors import unknown_name
from excite.evaluation.calibrated_range import calibrated_range
from excite.evaluation.effective_sample_size import jackknife_interval
from excite.evaluation.intervals import (
    FEWEST_GROUPS,
    LEVEL,
    METHODS,
    RESAMPLES,
    Interval,
    bootstrap_interval,
    grouped_wilson,
    too_few,
)
from excite.evaluation.metrics import (
    CALIBRATION_ERRORS,
    OVERALL,
    PER_CLASS,
    PROPORTIONS,
    UNDEFINED_OVERALL,
    confusion,
    undefined_reason,
)
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums, Values, bootstrap, jackknife

INTERVAL_METHODS = ("jackknife", *METHODS)


def measure(
    predictions: Predictions,
    *,
    intervals: bool = True,
    method: str = "jackknife",
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """All metrics of one set of images, as stored under the name of a split in ``metrics.json``.

    Args:
        intervals: whether to compute intervals, which takes most of the time.
        method: ``jackknife``, or the bootstrap ``bca`` or ``percentile``, with slightly lower coverage.
            Proportions always have Wilson's interval.
        level: level of the intervals.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.

    Returns:
        ``n`` images, ``groups``, ``interval`` (level, method, seed and, of a bootstrap, ``resamples``);
        ``low_group_count``, the classes with so few groups that intervals of means over classes may be too
        narrow; each metric of ``metrics.OVERALL`` as ``{"value", "low", "high", "method"}``, with ``reason``
        instead if undefined; ``classes``: name -> ``n``, ``groups`` and each metric of ``metrics.PER_CLASS``;
        ``confusion``: (C, C) counts, rows are labels. The two calibration errors have ``calibrated``, the
        range expected of a calibrated classifier, instead of an interval.

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
        bounds = _Bounds(table, point, method, level, resamples, seed)
        result["interval"] = {"level": level, "method": method, "seed": seed}
        if method in METHODS:
            result["interval"]["resamples"] = resamples
    for name in OVERALL:
        metric = _value(float(point.overall[name][0]), UNDEFINED_OVERALL.get(name, ""))
        if bounds and metric["value"] is not None:
            if name in CALIBRATION_ERRORS:
                low, high = calibrated_range(predictions, equal=name, level=level, seed=seed)
                metric["calibrated"] = {"low": low, "high": high}
            else:
                metric |= _plain(bounds.overall(name))
        result[name] = metric
    true, predicted = table.true.sum(axis=1), table.predicted.sum(axis=1)
    result["low_group_count"], result["classes"] = [], {}
    for index, label in enumerate(predictions.classes):
        if 0 < table.groups_beside(index) < FEWEST_GROUPS:
            result["low_group_count"].append(label)
        row: dict[str, Any] = {"n": int(true[index]), "groups": int((table.true[[index]] > 0).sum())}
        for name in PER_CLASS:
            reason = undefined_reason(name, len(predictions), int(true[index]), int(predicted[index]))
            row[name] = _value(float(point.classes[name][index, 0]), reason)
            if bounds and row[name]["value"] is not None:
                row[name] |= _plain(bounds.of_class(name, index))
        result["classes"][label] = row
    matrix = confusion(predictions.targets, predictions.predicted, len(predictions.classes))
    return result | {"confusion": matrix.tolist()}


class _Bounds:
    """The intervals of one set of predictions, from the same jackknife and the same resamples."""

    def __init__(
        self, table: GroupSums, point: Values, method: str, level: float, resamples: int, seed: int
    ) -> None:
        self.table, self.point, self.method, self.level = table, point, method, level
        self.resampled = bootstrap([table], resamples, seed)[0] if method in METHODS else None
        self.left_out = jackknife([table], seed)[0]

    def overall(self, name: str) -> Interval:
        if name in PROPORTIONS:
            hits = np.asarray(self.table.right.sum(axis=0))
            return grouped_wilson(hits, self.table.images, level=self.level)
        draws = None if self.resampled is None else self.resampled.overall[name]
        return self._resampled(name, self.point.overall[name][0], draws, self.left_out.overall[name])

    def of_class(self, name: str, index: int) -> Interval:
        if name in PROPORTIONS:
            return grouped_wilson(*proportion(self.table, name, index), level=self.level)
        beside = self.table.groups_beside(index)
        if beside < FEWEST_GROUPS:
            return Interval(reason=too_few(beside))
        draws = None if self.resampled is None else self.resampled.classes[name][index]
        left_out = self.left_out.classes[name][index]
        return self._resampled(name, self.point.classes[name][index, 0], draws, left_out)

    def _resampled(self, name: str, value: float, draws: np.ndarray | None, left_out: np.ndarray) -> Interval:
        return interval_of(
            name,
            float(value),
            draws,
            left_out,
            method=self.method,
            level=self.level,
            groups=self.table.groups,
            effective=self.table.effective_groups,
        )


def interval_of(
    name: str,
    value: float,
    draws: np.ndarray | None,
    left_out: np.ndarray,
    *,
    method: str,
    level: float,
    groups: int,
    effective: float,
) -> Interval:
    """The ``jackknife`` interval, or the bootstrap interval from the values (B,) in the resamples."""
    if draws is None:
        return jackknife_interval(name, value, left_out, level=level, groups=groups, effective=effective)
    return bootstrap_interval(
        value, draws, left_out, method=method, level=level, groups=groups, effective=effective
    )


def proportion(table: GroupSums, name: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator (G,), per group, of the sensitivity, specificity, PPV or NPV of a class."""
    true, predicted, right = (
        rows[[index]].toarray()[0] for rows in (table.true, table.predicted, table.right)
    )
    rejected = table.images - true - predicted + right
    return {
        "sensitivity": (right, true),
        "specificity": (rejected, table.images - true),
        "ppv": (right, predicted),
        "npv": (rejected, table.images - predicted),
    }[name]


def _value(value: float, reason: str) -> dict[str, Any]:
    return {"value": None, "reason": reason} if np.isnan(value) else {"value": value}


def _plain(interval: Interval) -> dict[str, Any]:
    bounds: dict[str, Any] = {"low": interval.low, "high": interval.high}
    return bounds | ({"reason": interval.reason} if interval.reason else {"method": interval.method})
