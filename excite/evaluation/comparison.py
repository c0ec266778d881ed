"""Paired comparison of two classifiers on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from excite.errors import unknown_name
from excite.evaluation.class_groups import class_reason, class_warning
from excite.evaluation.intervals import FEWEST_GROUPS, LEVEL, RESAMPLES, too_few
from excite.evaluation.matching import shared_images
from excite.evaluation.measure import metric_names
from excite.evaluation.metrics import OVERALL, PER_CLASS, RANKED
from excite.evaluation.predictions import Predictions
from excite.evaluation.ranges import difference_in_range
from excite.evaluation.resampling import GroupSums
from excite.evaluation.swap_test import ROUNDING, Swaps, swap_test

MEANS_OVER_CLASSES = ("balanced_accuracy", "macro_f1", "mcc", "kappa", "quadratic_kappa", *RANKED)


@dataclass(frozen=True)
class Difference:
    """A metric of the second classifier minus that of the first.

    Args:
        metric: its name in ``metrics.OVERALL``, or ``metrics.PER_CLASS`` with ``label``.
        label: the class, or None for a metric over all classes.
        first, second, value: the two metrics and second - first; None if undefined.
        low, high: interval of the difference; ``reason`` explains why there is none.
        warning: why the test can hardly detect a difference.
        p: two-sided p-value of no difference, by the same swap test as the interval.
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
    warning: str | None
    n: int
    groups: int


def compare(
    first: Predictions,
    second: Predictions,
    metrics: Sequence[str] = OVERALL,
    *,
    label: str | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Difference]:
    """Differences of metrics, tested by swapping the two classifiers' predictions within groups.

    Args:
        metrics: names in ``metrics.OVERALL``, with an order of the classes also in ``metrics.ORDINAL``; with
            ``label``, in ``metrics.PER_CLASS``.
        label: the class of per-class metrics.
        level: level of the intervals.
        resamples: number of swaps.
        seed: of the swaps.

    Raises:
        ExciteError: for an unknown metric or class, and as ``shared_images``.
    """
    known = metric_names(first) if label is None else PER_CLASS
    for metric in metrics:
        if metric not in known:
            raise unknown_name("metric", metric, known)
    one, two = shared_images(first, second)
    index = None if label is None else one.class_index(label)
    swaps = Swaps(one, two, ranking=bool(set(metrics) & set(RANKED)), swaps=resamples, seed=seed)
    table = GroupSums(one, ranking=False)
    differences = {}
    for metric in metrics:
        before, after = (float(each.of(metric, index)[0]) for each in (swaps.first, swaps.second))
        shares = _shares(swaps.true, metric, index)
        swapped = swaps.differences(metric, index, shares)
        by_class = index is not None or metric in MEANS_OVER_CLASSES
        reason = _no_test(one.group_count, after - before, swapped)
        if reason is None and by_class:
            reason = class_reason(one, table, index)
        tested = None
        bounds: tuple[float | None, float | None] = (None, None)
        if reason is None:
            tested = swap_test(after - before, swapped, swaps, shares, level=level)
            bounds = difference_in_range(metric, tested.low, tested.high)
        differences[metric] = Difference(
            metric=metric,
            label=label,
            first=_defined(before),
            second=_defined(after),
            value=_defined(after - before),
            low=bounds[0],
            high=bounds[1],
            p=tested.p if tested else None,
            reason=reason,
            warning=class_warning(one, table, index) if by_class and reason is None else None,
            n=len(one),
            groups=one.group_count,
        )
    return differences


def _no_test(groups: int, difference: float, swapped: np.ndarray) -> str | None:
    """Why a difference is not tested; None if it is."""
    if groups < FEWEST_GROUPS:
        return too_few(groups)
    if np.isnan(difference) or np.isnan(swapped).any():
        return "undefined in one of the classifiers or after a swap: a class has too few images"
    if not np.abs(swapped).max() > ROUNDING:
        return "the two classifiers do not differ in any group"
    return None


def _shares(true: np.ndarray, metric: str, index: int | None) -> np.ndarray:
    """(J,) the fraction of a metric that depends on each group, from its images of each class (C, J)."""
    counts = true[true.sum(axis=1) > 0]
    if index is not None:
        rest = true.sum(axis=0) - true[index]
        counts = {"sensitivity": true[[index]], "specificity": rest[None]}.get(
            metric, np.stack([true[index], rest])
        )
    elif metric not in MEANS_OVER_CLASSES:
        counts = true.sum(axis=0)[None]
    shares: np.ndarray = (counts / counts.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of equal accuracy.

    Args:
        first_only, second_only: number of images that only the first, or the second, classifies correctly.
        p: exact two-sided p-value; conservative for few images.
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
    # With equal counts both tails contain the observed outcome, which counts half once.
    observed = float(stats.binom.pmf(fewer, either, 0.5))
    mid_p = 2 * float(stats.binom.cdf(fewer, either, 0.5)) - observed
    if only_one == only_two:
        mid_p = 1 - observed / 2 if either else 1.0
    return McNemar(only_one, only_two, p, mid_p, one.group_count == len(one))


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
