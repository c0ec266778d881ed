"""Predictions into the figures of ``metrics.json``, each with its interval."""

from __future__ import annotations

from typing import Any

import numpy as np

from excite.errors import unknown_name
from excite.evaluation.calibration import calibrated_range
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
    WHY_OVERALL,
    confusion,
    why_undefined,
)
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums, Values, bootstrap, jackknife


def measure(
    predictions: Predictions,
    *,
    intervals: bool = True,
    method: str = "bca",
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """All figures of one set of images, as they stand under a split's name in ``metrics.json``.

    Args:
        intervals: False: the values alone, in a fraction of the time.
        method: of the bootstrap: ``bca`` or ``percentile``. Proportions have Wilson's interval.

    Returns:
        ``n`` images, ``groups``, ``interval`` (level, method, resamples, seed); ``few_groups``, the classes
        of so few groups that intervals of means over classes may be too narrow; each of
        ``metrics.OVERALL`` as ``{"value", "low", "high", "method"}``, with ``why`` in place of what is not
        defined; ``classes``: name -> ``n``, ``groups`` and each of ``metrics.PER_CLASS`` likewise;
        ``confusion``: (C, C) counts, rows are the truth. The two calibration errors have ``calibrated``
        instead of an interval: what a perfectly calibrated classifier would show.

    Raises:
        ExciteError: for an unknown method.
    """
    if method not in METHODS:
        raise unknown_name("interval", method, METHODS)
    table = GroupSums(predictions)
    point = table.point()
    result: dict[str, Any] = {"n": len(predictions), "groups": predictions.group_count}
    bounds = None
    if intervals:
        bounds = _Bounds(table, point, method, level, resamples, seed)
        result["interval"] = {"level": level, "method": method, "resamples": resamples, "seed": seed}
    for name in OVERALL:
        figure = _value(float(point.overall[name][0]), WHY_OVERALL.get(name, ""))
        if bounds and figure["value"] is not None:
            if name in CALIBRATION_ERRORS:
                low, high = calibrated_range(predictions, equal=name, level=level, seed=seed)
                figure["calibrated"] = {"low": low, "high": high}
            else:
                figure |= _plain(bounds.overall(name))
        result[name] = figure
    true, said = table.true.sum(axis=1), table.said.sum(axis=1)
    result["few_groups"], result["classes"] = [], {}
    for index, label in enumerate(predictions.classes):
        if 0 < table.groups_beside(index) < FEWEST_GROUPS:
            result["few_groups"].append(label)
        row: dict[str, Any] = {"n": int(true[index]), "groups": int((table.true[[index]] > 0).sum())}
        for name in PER_CLASS:
            why = why_undefined(name, len(predictions), int(true[index]), int(said[index]))
            row[name] = _value(float(point.classes[name][index, 0]), why)
            if bounds and row[name]["value"] is not None:
                row[name] |= _plain(bounds.of_class(name, index))
        result["classes"][label] = row
    matrix = confusion(predictions.targets, predictions.guesses, len(predictions.classes))
    return result | {"confusion": matrix.tolist()}


class _Bounds:
    """The intervals of one set of predictions, from one set of resamples."""

    def __init__(
        self, table: GroupSums, point: Values, method: str, level: float, resamples: int, seed: int
    ) -> None:
        self.table, self.point, self.method, self.level = table, point, method, level
        self.resampled = bootstrap([table], resamples, seed)[0]
        self.left_out = jackknife([table], seed)[0]

    def overall(self, name: str) -> Interval:
        if name in PROPORTIONS:
            hits = np.asarray(self.table.right.sum(axis=0))
            return grouped_wilson(hits, self.table.images, level=self.level)
        value = float(self.point.overall[name][0])
        return self._resampled(value, self.resampled.overall[name], self.left_out.overall[name])

    def of_class(self, name: str, index: int) -> Interval:
        if name in PROPORTIONS:
            return grouped_wilson(*proportion(self.table, name, index), level=self.level)
        beside = self.table.groups_beside(index)
        if beside < FEWEST_GROUPS:
            return Interval(why=too_few(beside))
        value = float(self.point.classes[name][index, 0])
        return self._resampled(value, self.resampled.classes[name][index], self.left_out.classes[name][index])

    def _resampled(self, value: float, replicates: np.ndarray, left_out: np.ndarray) -> Interval:
        return bootstrap_interval(
            value,
            replicates,
            left_out,
            method=self.method,
            level=self.level,
            groups=self.table.groups,
            effective=self.table.effective_groups,
        )


def proportion(table: GroupSums, name: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator (G,) of one class's sensitivity, specificity, PPV or NPV in each group."""
    true, said, right = (rows[[index]].toarray()[0] for rows in (table.true, table.said, table.right))
    rejected = table.images - true - said + right
    return {
        "sensitivity": (right, true),
        "specificity": (rejected, table.images - true),
        "ppv": (right, said),
        "npv": (rejected, table.images - said),
    }[name]


def _value(value: float, why: str) -> dict[str, Any]:
    return {"value": None, "why": why} if np.isnan(value) else {"value": value}


def _plain(interval: Interval) -> dict[str, Any]:
    bounds: dict[str, Any] = {"low": interval.low, "high": interval.high}
    return bounds | ({"why": interval.why} if interval.why else {"method": interval.method})
