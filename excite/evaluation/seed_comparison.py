"""Compare two configurations, each trained with several seeds, on the same test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.intervals import LEVEL
from excite.evaluation.measure import metric_names
from excite.evaluation.metrics import OVERALL
from excite.evaluation.mrmc import mean_squares, pseudo_values
from excite.evaluation.predictions import Predictions
from excite.evaluation.ranges import difference_in_range


@dataclass(frozen=True)
class SeedDifference:
    """Mean of a metric over the trainings of the second configuration minus that of the first.

    Args:
        first, second: the two means; None if undefined.
        value: second - first.
        low, high: interval of the difference for other seeds and other groups of images.
        p: two-sided p-value of no difference.
        seed_variance, group_variance: the parts of the variance of ``value`` from seeds and from groups.
        reason: why there is no interval.
    """

    first: float | None
    second: float | None
    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    seed_variance: float | None = None
    group_variance: float | None = None
    reason: str | None = None


def compare_seeds(
    first: Sequence[Predictions],
    second: Sequence[Predictions],
    metrics: Sequence[str] = OVERALL,
    *,
    level: float = LEVEL,
) -> dict[str, SeedDifference]:
    """Differences between two configurations with seeds and groups of images as random samples.

    This is the analysis of multiple readers and multiple cases, with trainings as readers that are nested in
    the configurations and groups of images that all trainings share (Dorfman, Berbaum & Metz 1992; Hillis
    2014), on jackknife pseudo-values.

    Args:
        first, second: predictions of at least two trainings each, all on the same images in the same order.
        metrics: names in ``metrics.OVERALL``, with an order of the classes also in ``metrics.ORDINAL``.
        level: level of the intervals.

    Raises:
        ExciteError: for fewer than two trainings on a side, and an unknown metric.

    Example:
        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> targets = np.arange(200) % 2
        >>> def training(strength):
        ...     logits = (2 * targets - 1) * strength + random.normal(size=200)
        ...     yes = 1 / (1 + np.exp(-logits))
        ...     return Predictions(targets, np.stack([1 - yes, yes], axis=1), ("no", "yes"))
        >>> first, second = ([training(strength) for _ in range(3)] for strength in (0.5, 1.5))
        >>> compare_seeds(first, second, ["accuracy"])["accuracy"].p < 0.05
        True
    """
    if min(len(first), len(second)) < 2:
        raise ExciteError("a comparison over seeds needs two trainings on each side", exit_code=BAD_USAGE)
    for metric in metrics:
        if metric not in (known := metric_names(first[0])):
            raise unknown_name("metric", metric, known)
    return {metric: _difference(first, second, metric, level) for metric in metrics}


def _difference(
    first: Sequence[Predictions], second: Sequence[Predictions], metric: str, level: float
) -> SeedDifference:
    try:
        one, two = (pseudo_values([[run] for run in side], None, metric) for side in (first, second))
    except ExciteError as error:
        return SeedDifference(None, None, None, reason=error.what)
    found = nested_difference(one, two, level=level)
    if found.low is None or found.high is None:
        return found
    low, high = difference_in_range(metric, found.low, found.high)
    return replace(found, low=low, high=high)


def nested_difference(first: np.ndarray, second: np.ndarray, *, level: float = LEVEL) -> SeedDifference:
    """Difference of the means of two tables whose rows are different trainings and whose columns are shared.

    Args:
        first, second: (S, G) pseudo-values of S trainings, which may be of different number, and G groups.
        level: level of the interval.

    Raises:
        ExciteError: for fewer than two rows or columns.
    """
    one, two = float(first.mean()), float(second.mean())
    seeds, groups, degrees = _variances(first, second)
    gap, error = two - one, float(np.sqrt(seeds + groups))
    if error == 0:
        reason = "the estimate varies neither between seeds nor between groups"
        return SeedDifference(one, two, gap, seed_variance=0.0, group_variance=0.0, reason=reason)
    half = float(stdtrit(degrees, 0.5 + level / 2)) * error
    p = 2 * float(stdtr(degrees, -abs(gap) / error))
    return SeedDifference(one, two, gap, gap - half, gap + half, p, seeds, groups)


def _variances(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Variance of the difference of two means from seeds, that from groups, and the degrees of freedom.

    Both configurations are taken to vary equally between seeds, as two or three seeds cannot tell otherwise;
    if they do not, p is wrong for unequal numbers of seeds. The degrees are Satterthwaite's less 2, as in
    ``MeanSquares.degrees``, and at least those of the seeds (benchmarks/seed_comparison.py measures the false
    positive rate).

    Args:
        first, second: (S, G) pseudo-values of S trainings and G groups.
    """
    sides = [mean_squares(table) for table in (first, second)]
    columns = first.shape[1]
    free = [side.rows - 1 for side in sides]
    weight = sum(1 / side.rows for side in sides) / columns
    seeds, rest = (
        weight * np.average([getattr(side, name) for side in sides], weights=free)
        for name in ("trainings", "rest")
    )
    between = float((second.mean(axis=0) - first.mean(axis=0)).var(ddof=1)) / columns
    groups = max(between - rest, 0.0)
    parts = seeds**2 / sum(free)
    if groups > 0:
        parts += between**2 / (columns - 1) + rest**2 / (sum(free) * (columns - 1))
    degrees = (seeds + groups) ** 2 / parts - 2 if parts > 0 else 0.0
    return float(seeds), groups, max(float(degrees), float(sum(free)))
