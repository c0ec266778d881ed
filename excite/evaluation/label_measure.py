"""The metrics of several labels per image, each with its interval, as in ``metrics.json``.

A label is a problem of two classes, so its metrics and intervals are those of ``measure``. Macro averages are
means over labels; micro averages take every known value of every label as one of the same problem. Groups are
the units of all intervals: the labels of one image are not independent.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from excite.config.task import MULTILABEL
from excite.data.labels import PRESENT
from excite.evaluation.intervals import FEWEST_GROUPS, LEVEL, Interval, grouped_wilson
from excite.evaluation.label_predictions import LabelPredictions
from excite.evaluation.mean_intervals import mean_of_intervals
from excite.evaluation.metric_intervals import MetricIntervals
from excite.evaluation.metrics import undefined_reason
from excite.evaluation.predictions import Predictions
from excite.evaluation.reliability import class_calibration
from excite.evaluation.resampling import GroupSums, Values, jackknife_weights

OF_LABEL = ("sensitivity", "specificity", "ppv", "npv", "f1", "mcc", "auroc", "average_precision")
LOSSES = ("log_loss", "brier")
AVERAGED = ("auroc", "average_precision", "sensitivity", "specificity", "ppv", "f1", *LOSSES)
NOT_MEASURED = "the value of this label is unknown for every image"


def measure_labels(
    predictions: LabelPredictions, *, intervals: bool = True, level: float = LEVEL, seed: int = 0
) -> dict[str, Any]:
    """All metrics of one set of images.

    Args:
        intervals: whether to compute intervals, which takes most of the time.
        level: level of the intervals.
        seed: of the assignment of more than 400 groups to blocks.

    Returns:
        ``task`` (multilabel), ``n`` images, ``groups``, ``unknown`` (number of unknown values), ``interval``;
        ``subset_accuracy``, the fraction of images whose known labels are all predicted correctly;
        ``hamming_loss``, the fraction of known values that are not; ``macro`` and ``micro``: each metric of
        ``AVERAGED`` as ``{"value", "low", "high", "method"}``, with ``reason`` instead if undefined;
        ``labels``: name -> ``n`` (images where it is known), ``groups``, ``present`` (images with it),
        ``present_groups``, ``threshold``, with intervals ``calibration`` (``predicted``, ``observed``, and
        ``ece``), and each metric of ``OF_LABEL`` and ``LOSSES``; ``low_group_count``: labels with so few
        groups that macro averages may have too narrow an interval.
    """
    result: dict[str, Any] = {
        "task": MULTILABEL,
        "n": len(predictions),
        "groups": predictions.group_count,
        "unknown": int((~predictions.known).sum()),
    }
    if intervals:
        result["interval"] = {"level": level, "method": "analytic", "seed": seed}
    result |= _whole_images(predictions, level if intervals else None)
    known = [index for index in range(len(predictions.classes)) if predictions.known[:, index].any()]
    labels = {
        index: _Label(predictions, index, level=level, seed=seed, intervals=intervals) for index in known
    }
    result["macro"] = {name: _macro(list(labels.values()), name) for name in AVERAGED}
    flat = _Binary(predictions.flattened(), level=level, seed=seed, intervals=intervals)
    result["micro"] = {name: flat.metric(name)[0] for name in AVERAGED}
    result["low_group_count"] = [
        predictions.classes[index] for index, each in labels.items() if each.groups_beside < FEWEST_GROUPS
    ]
    result["labels"] = {
        name: labels[index].row(float(predictions.limits[index]))
        if index in labels
        else {"n": 0, "groups": 0, "present": 0, "reason": NOT_MEASURED}
        for index, name in enumerate(predictions.classes)
    }
    return result


class _Binary:
    """The metrics of a problem of two classes, of its second class."""

    def __init__(self, predictions: Predictions, *, level: float, seed: int, intervals: bool) -> None:
        self.predictions, self.table = predictions, GroupSums(predictions)
        self.point = self.table.point()
        self.bounds = None
        if intervals:
            self.bounds = MetricIntervals([predictions], [self.table], [self.point], level=level, seed=seed)

    @property
    def groups_beside(self) -> int:
        """The smaller number of groups, with or without the label."""
        return self.table.groups_beside(1)

    def metric(self, name: str) -> tuple[dict[str, Any], Interval | None]:
        """A metric for a JSON file, and its interval."""
        index = None if name in LOSSES else 1
        value = float(self.point.of(name, index)[0])
        if np.isnan(value):
            reason = undefined_reason(name, int(self.table.true.sum(axis=1)[1]))
            return {"value": None, "reason": reason}, None
        if self.bounds is None:
            return {"value": value}, None
        interval = self.bounds.overall(name) if index is None else self.bounds.of_class(name, index)
        return {"value": value, **interval.to_dict()}, interval


class _Label(_Binary):
    """One label, with the influence of each group of all images on its metrics."""

    def __init__(
        self, predictions: LabelPredictions, index: int, *, level: float, seed: int, intervals: bool
    ) -> None:
        super().__init__(predictions.of_label(index), level=level, seed=seed, intervals=intervals)
        self.metrics = {name: self.metric(name) for name in (*OF_LABEL, *LOSSES)}
        self.left_out: Values | None = None
        if self.bounds is not None:
            rows = np.flatnonzero(predictions.known[:, index])
            first = np.unique(self.predictions.group_codes, return_index=True)[1]
            places = predictions.group_codes[rows][first]  # of this label's groups among all
            generator = np.random.default_rng(seed)
            weights = jackknife_weights(predictions.group_count, generator)[places]
            self.left_out = self.table.values(weights)

    def influence(self, name: str) -> np.ndarray:
        """(J,) the metric without each group, or block of groups, of all images."""
        assert self.left_out is not None
        return self.left_out.of(name, None if name in LOSSES else 1)

    def row(self, threshold: float) -> dict[str, Any]:
        """The metrics for a JSON file."""
        present = self.predictions.targets == 1
        calibration = {}
        if self.bounds is not None:  # it simulates the range of a calibrated classifier
            found = class_calibration(self.predictions)["classes"]
            calibration["calibration"] = found[self.predictions.classes[1]]
        return {
            "n": len(self.predictions),
            "groups": self.predictions.group_count,
            "present": int(present.sum()),
            "present_groups": len(np.unique(self.predictions.group_codes[present])),
            "threshold": threshold,
            **calibration,
            **{name: figure for name, (figure, _) in self.metrics.items()},
        }


def _macro(labels: list[_Label], name: str) -> dict[str, Any]:
    """The mean of a metric over the labels where it is defined."""
    defined = [each for each in labels if each.metrics[name][0]["value"] is not None]
    if not defined:
        return {"value": None, "reason": "it is defined for no label"}
    values = [each.metrics[name][0]["value"] for each in defined]
    figure: dict[str, Any] = {"value": float(np.mean(values)), "labels": len(defined)}
    bounds = [interval for each in defined if (interval := each.metrics[name][1]) is not None]
    if len(bounds) < len(defined):
        return figure
    influences = np.stack([each.influence(name) for each in defined])
    return figure | mean_of_intervals(values, bounds, influences).to_dict()


def _whole_images(predictions: LabelPredictions, level: float | None) -> dict[str, Any]:
    """Subset accuracy and Hamming loss; without intervals if there is no level."""
    codes, known = predictions.group_codes, predictions.known
    evaluated = np.asarray(known.any(axis=1))
    exact = np.asarray((predictions.correct | ~known).all(axis=1)) & evaluated
    wrong = known & ~predictions.correct
    return {
        "subset_accuracy": _fraction(exact, evaluated, codes, level),
        "hamming_loss": _fraction(wrong.sum(axis=1), known.sum(axis=1), codes, level),
    }


def _fraction(part: np.ndarray, whole: np.ndarray, codes: np.ndarray, level: float | None) -> dict[str, Any]:
    if not whole.any():
        return {"value": None, "reason": "no value of a label is known"}
    figure: dict[str, Any] = {"value": float(part.sum() / whole.sum())}
    if level is None:
        return figure
    interval = grouped_wilson(np.bincount(codes, part), np.bincount(codes, whole), level=level)
    return figure | interval.to_dict()


def label_reliability(predictions: LabelPredictions, *, bins: int = 10) -> list[dict[str, Any]]:
    """The bins of a reliability diagram over every known value: predicted and observed frequency.

    Returns:
        for each bin of probabilities that holds values: ``above``, ``up_to``, ``n`` values, ``groups``,
        ``confidence`` (mean probability), ``accuracy`` (fraction present), and its ``low`` and ``high``.
    """
    rows, columns = np.nonzero(predictions.known)
    scores = predictions.probabilities[rows, columns]
    present = predictions.targets[rows, columns] == PRESENT
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    result = []
    for number in np.unique(place).tolist():
        inside = place == number
        codes = np.unique(predictions.group_codes[rows[inside]], return_inverse=True)[1]
        interval = grouped_wilson(np.bincount(codes, present[inside]), np.bincount(codes))
        result.append(
            {
                "above": number / bins,
                "up_to": (number + 1) / bins,
                "n": int(inside.sum()),
                "groups": int(codes.max()) + 1,
                "confidence": float(scores[inside].mean()),
                "accuracy": float(present[inside].mean()),
                "low": interval.low,
                "high": interval.high,
            }
        )
    return result
