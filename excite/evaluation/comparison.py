"""Paired comparison of two classifiers on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from excite.errors import unknown_name
from excite.evaluation.intervals import (
    FEWEST_GROUPS,
    LEVEL,
    METHODS,
    RESAMPLES,
    Interval,
    bootstrap_interval,
    bootstrap_p_value,
    too_few,
)
from excite.evaluation.matching import shared_images
from excite.evaluation.metrics import OVERALL, PER_CLASS
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums, Values, bootstrap, jackknife

RANKED = ("auroc", "average_precision")


@dataclass(frozen=True)
class Difference:
    """A metric of the second classifier minus that of the first.

    Args:
        metric: its name in ``metrics.OVERALL``, or ``metrics.PER_CLASS`` with ``label``.
        label: the class, or None for a metric over all classes.
        first, second, value: the two metrics and second - first; None if undefined.
        low, high: interval of the difference; ``reason`` explains why there is none.
        p: two-sided p value of no difference, from the same resamples as the interval.
        n, groups: number of shared images and groups.
    """

    metric: str
    label: str | None
    first: float | None
    second: float | None
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    reason: str | None
    n: int
    groups: int


def compare(
    first: Predictions,
    second: Predictions,
    metrics: Sequence[str] = OVERALL,
    *,
    label: str | None = None,
    method: str = "percentile",
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Difference]:
    """Differences of metrics with paired intervals: each resample draws the same groups for both.

    Args:
        metrics: names in ``metrics.OVERALL``; with ``label``, in ``metrics.PER_CLASS``.
        label: the class of per-class metrics.
        method: ``percentile``, or ``bca``, whose false positive rate is up to 8 % at a level of 5 %: a
            difference is hardly skewed, so its correction only adds noise (benchmarks/intervals.py).

    Raises:
        ExciteError: for an unknown metric, class or method, and as ``shared_images``.
    """
    known = OVERALL if label is None else PER_CLASS
    for metric in metrics:
        if metric not in known:
            raise unknown_name("metric", metric, known)
    if method not in METHODS:
        raise unknown_name("interval", method, METHODS)
    pair = shared_images(first, second)
    index = None if label is None else pair[0].class_index(label)
    tables = [GroupSums(one, ranking=bool(set(metrics) & set(RANKED))) for one in pair]
    points = [table.point() for table in tables]
    resampled, left_out = bootstrap(tables, resamples, seed), jackknife(tables, seed)
    n, groups = len(pair[0]), tables[0].groups
    found = {}
    for metric in metrics:
        one, two = (float(_pick(values, metric, index)[0]) for values in points)
        gap = two - one
        draws, left = (
            _pick(both[1], metric, index) - _pick(both[0], metric, index) for both in (resampled, left_out)
        )
        interval = bootstrap_interval(gap, draws, left, method=method, level=level, groups=groups)
        if index is not None and (beside := tables[0].groups_beside(index)) < FEWEST_GROUPS:
            interval = Interval(reason=too_few(beside))
        p = None
        if interval.reason is None:
            p = bootstrap_p_value(gap, draws, left, method=method, groups=groups)
        found[metric] = Difference(
            metric=metric,
            label=label,
            first=_defined(one),
            second=_defined(two),
            value=_defined(gap),
            low=interval.low,
            high=interval.high,
            p=p,
            reason=interval.reason,
            n=n,
            groups=groups,
        )
    return found


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of equal accuracy.

    Args:
        first_only, second_only: number of images that only the first, or the second, classifies correctly.
        p: exact two-sided p value; conservative for few images.
        mid_p: counts the observed outcome half (Fagerland, Lydersen & Laake 2013); close to its level.
        independent: whether every image is its own group, as the test assumes. If not, p is too small: use
            ``compare``.
    """

    first_only: int
    second_only: int
    p: float
    mid_p: float
    independent: bool


def mcnemar(first: Predictions, second: Predictions) -> McNemar:
    """McNemar's exact test of equal accuracy. Raises: ExciteError as ``shared_images``."""
    one, two = shared_images(first, second)
    only_one = int((one.correct & ~two.correct).sum())
    only_two = int((two.correct & ~one.correct).sum())
    either, fewer = only_one + only_two, min(only_one, only_two)
    p = min(1.0, 2 * float(stats.binom.cdf(fewer, either, 0.5)))
    # With equal counts the two tails overlap in the observed outcome, which is subtracted only once.
    observed = float(stats.binom.pmf(fewer, either, 0.5))
    mid_p = 1.0 if only_one == only_two else 2 * float(stats.binom.cdf(fewer, either, 0.5)) - observed
    return McNemar(only_one, only_two, p, mid_p, one.group_count == len(one))


def _pick(values: Values, metric: str, index: int | None) -> np.ndarray:
    return values.overall[metric] if index is None else values.classes[metric][index]


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
