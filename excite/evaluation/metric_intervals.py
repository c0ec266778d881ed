"""The interval of each metric, by the method that holds its level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from excite.evaluation.class_groups import class_reason, class_warning, rarer_class
from excite.evaluation.effective_sample_size import effective_size, intraclass_correlation
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
from excite.evaluation.jackknife_interval import jackknife_interval
from excite.evaluation.mean_intervals import mean_loss_interval, mean_of_intervals
from excite.evaluation.metrics import PROPORTIONS, negative_log_likelihoods
from excite.evaluation.ordinal import ordinal_terms
from excite.evaluation.predictions import Predictions
from excite.evaluation.ranges import range_of
from excite.evaluation.ranking_interval import RankingIntervals
from excite.evaluation.resampling import GroupSums, Values, bootstrap, jackknife, left_out_images

ANALYTIC = "analytic"
INTERVAL_METHODS = (ANALYTIC, *METHODS)
LOSSES = ("log_loss", "brier", "mean_absolute_error")
OF_CLASSES = {  # metrics that are means over classes, and the metric of a class
    "balanced_accuracy": "sensitivity",
    "macro_f1": "f1",
    "auroc": "auroc",
    "average_precision": "average_precision",
}


class MetricIntervals:
    """The intervals of the metrics of predictions, or of their means over repeats of a cross-validation.

    Args:
        repeats: predictions of the same images in the same order.
        tables, points: their sums over groups, and their metrics.
        method: ``analytic``, or a bootstrap for all metrics but proportions: ``bca`` or ``percentile``.
        level: level of the intervals.
        resamples: number of bootstrap resamples.
        seed: of the resamples, and of the assignment of more than 400 groups to blocks.
    """

    def __init__(
        self,
        repeats: Sequence[Predictions],
        tables: Sequence[GroupSums],
        points: Sequence[Values],
        *,
        method: str = ANALYTIC,
        level: float = LEVEL,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        self.repeats, self.tables, self.points, self.level = repeats, tables, points, level
        self.method = method
        self.resampled = bootstrap(tables, resamples, seed) if method in METHODS else None
        self.left_out = jackknife(tables, seed)
        self.left_out_true = left_out_images(tables[0], seed)
        self.groups = tables[0].groups
        self.rankings: dict[tuple[int, int], RankingIntervals] = {}

    def overall(self, name: str) -> Interval:
        """The interval of a metric of ``metrics.OVERALL`` or ``ORDINAL`` that is no calibration error."""
        if name in ("accuracy", "off_by_one"):
            parts = [self._proportion(name, table) for table in self.tables]
            return self._combine(parts, [(repeat, name, None) for repeat in range(len(parts))])
        if self.groups < FEWEST_GROUPS:
            return Interval(reason=too_few(self.groups))
        if self.resampled is not None:
            return self._bootstrap(name, None)
        if name in LOSSES:
            return self._loss(name)
        if reason := class_reason(self.repeats[0], self.tables[0]):
            return Interval(reason=reason)
        if name not in OF_CLASSES:
            return self._warned(self._jackknife(name, None))
        classes = np.flatnonzero(self.left_out_true.sum(axis=1) > 0)
        terms = [
            (repeat, OF_CLASSES[name], int(index)) for repeat in range(len(self.tables)) for index in classes
        ]
        return self._warned(self._combine([self._of_class(*term) for term in terms], terms))

    def of_class(self, name: str, index: int) -> Interval:
        """The interval of a metric of ``metrics.PER_CLASS`` of a class."""
        if name not in PROPORTIONS:
            if self.groups < FEWEST_GROUPS:
                return Interval(reason=too_few(self.groups))
            if self.resampled is not None:
                return self._bootstrap(name, index)
            if reason := class_reason(self.repeats[0], self.tables[0], index):
                return Interval(reason=reason)
        terms = [(repeat, name, index) for repeat in range(len(self.tables))]
        interval = self._combine([self._of_class(*term) for term in terms], terms)
        # Sensitivity and specificity depend on one class only, whose groups Wilson's interval accounts for.
        return interval if name in ("sensitivity", "specificity") else self._warned(interval, index)

    def _proportion(self, name: str, table: GroupSums) -> Interval:
        counted = np.asarray(table.correct.sum(axis=0))
        if name == "off_by_one":
            assert table.distances is not None
            counted = table.distances[2]
        return grouped_wilson(counted, table.images, level=self.level)

    def _of_class(self, repeat: int, name: str, index: int) -> Interval:
        """The interval of a metric of a class in one repeat."""
        table = self.tables[repeat]
        if name in PROPORTIONS:
            true = table.class_images if name in ("ppv", "npv") else None
            return grouped_wilson(*proportion(table, name, index), true=true, level=self.level)
        if name == "f1":
            true, predicted, correct = table.of_class(index)
            # F1 rises with the proportion of correct images among those of the class or predicted as it,
            # which is F* = F1 / (2 - F1) (Hand, Christen & Kirielle 2021).
            interval = grouped_wilson(correct, true + predicted - correct, level=self.level)
            if interval.low is None or interval.high is None:
                return interval
            return replace(
                interval,
                low=2 * interval.low / (1 + interval.low),
                high=2 * interval.high / (1 + interval.high),
            )
        if name == "mcc":
            return self._jackknife(name, index, repeat)
        if (repeat, index) not in self.rankings:
            one = self.repeats[repeat]
            ranking = RankingIntervals(one.probabilities[:, index], one.targets == index, one.group_codes)
            self.rankings[repeat, index] = ranking
        ranking = self.rankings[repeat, index]
        if name == "auroc":
            return ranking.auroc(self.level)
        value = float(self.points[repeat].classes[name][index, 0])
        return ranking.average_precision(value, self.left_out[repeat].classes[name][index], self.level)

    def _combine(
        self, intervals: Sequence[Interval], terms: Sequence[tuple[int, str, int | None]]
    ) -> Interval:
        """The interval of the mean of terms: repeat, metric, and class (None: over all classes)."""
        if len(intervals) == 1:
            return intervals[0]
        values = [float(self.points[repeat].of(name, index)[0]) for repeat, name, index in terms]
        influences = np.stack([self.left_out[repeat].of(name, index) for repeat, name, index in terms])
        return mean_of_intervals(values, intervals, influences)

    def _jackknife(self, name: str, index: int | None, repeat: int | None = None) -> Interval:
        """The jackknife interval of a metric of one repeat, or (None) of its mean over the repeats."""
        chosen = slice(None) if repeat is None else slice(repeat, repeat + 1)
        value = float(_mean(self.points[chosen], name, index)[0])
        left_out = _mean(self.left_out[chosen], name, index)
        true = self.left_out_true
        if index is not None:
            true = np.stack([true[index], true.sum(axis=0) - true[index]])
        first = self.repeats[0]
        correlation = intraclass_correlation(
            [
                (first.correct[rows].astype(np.float64), first.group_codes[rows])
                for rows in (first.targets == number for number in np.unique(first.targets))
            ]
        )
        return jackknife_interval(name, value, left_out, true, level=self.level, correlation=correlation)

    def _loss(self, name: str) -> Interval:
        first, highest = self.repeats[0], range_of(name)[1]
        if name == "mean_absolute_error":
            assert first.ranks is not None
            losses = ordinal_terms(first.ranks, first.targets, first.predicted)[1]
            highest = float(len(first.classes) - 1)
        else:
            losses = negative_log_likelihoods(first.probabilities, first.targets)
        correlation = intraclass_correlation([(losses, first.group_codes)])
        return mean_loss_interval(
            float(_mean(self.points, name, None)[0]),
            _mean(self.left_out, name, None),
            effective_size(self.tables[0].images, correlation).freedom,
            highest=highest,
            level=self.level,
        )

    def _bootstrap(self, name: str, index: int | None) -> Interval:
        assert self.resampled is not None
        if index is not None and (beside := self.tables[0].groups_beside(index)) < FEWEST_GROUPS:
            return Interval(reason=too_few(beside, rarer_class(self.repeats[0], self.tables[0], index)[1]))
        return bootstrap_interval(
            float(_mean(self.points, name, index)[0]),
            _mean(self.resampled, name, index),
            _mean(self.left_out, name, index),
            method=self.method,
            level=self.level,
            groups=self.groups,
            effective=self.tables[0].effective_groups,
        )

    def _warned(self, interval: Interval, index: int | None = None) -> Interval:
        """The interval with the warning that there are few groups of a class, if any."""
        if interval.reason is not None:
            return interval
        return replace(interval, warning=class_warning(self.repeats[0], self.tables[0], index))


def proportion(table: GroupSums, name: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator (G,), per group, of the sensitivity, specificity, PPV or NPV of a class."""
    positives, predicted, tp = table.of_class(index)
    negatives, predicted_negatives = table.images - positives, table.images - predicted
    tn = negatives - (predicted - tp)
    return {
        "sensitivity": (tp, positives),
        "specificity": (tn, negatives),
        "ppv": (tp, predicted),
        "npv": (tn, predicted_negatives),
    }[name]


def _mean(values: Sequence[Values], name: str, index: int | None) -> np.ndarray:
    mean: np.ndarray = np.mean([one.of(name, index) for one in values], axis=0)
    return mean
