"""The range of each metric, and intervals of means and differences that stay in it."""

from __future__ import annotations

import numpy as np

from excite.evaluation.intervals import LEVEL, Interval, wilson

HIGHEST_LOG_LOSS = float(-np.log(np.finfo(np.float64).eps))  # 36 nats
RANGES = {
    **dict.fromkeys(("mcc", "kappa", "quadratic_kappa"), (-1.0, 1.0)),
    "log_loss": (0.0, HIGHEST_LOG_LOSS),
    "mean_absolute_error": (0.0, float("inf")),  # of C classes C - 1
}
ROUNDING = 1e-12  # a smaller standard error is a rounding error


def range_of(metric: str) -> tuple[float, float]:
    """The lowest and the highest value of a metric.

    >>> range_of("auroc"), range_of("mcc")
    ((0.0, 1.0), (-1.0, 1.0))
    """
    return RANGES.get(metric, (0.0, 1.0))


def mean_in_range(
    metric: str, value: float, error: float, quantile: float, *, level: float = LEVEL, method: str = "t"
) -> Interval:
    """The interval of a mean of a metric, from its standard error.

    The usual interval, value ± quantile · error, leaves the range of the metric where the mean is near its
    end, and there it is too narrow on the other side. With p the position of the mean in its range, the
    interval is Wilson's for n_eff = p (1 - p) / variance (Korn & Graubard 1998); for a log loss, which has no
    natural upper end, it is symmetric on a logarithmic scale. benchmarks/fold_intervals.py measures the
    coverage of both.

    Args:
        metric: in ``metrics.OVERALL`` or ``metrics.PER_CLASS``.
        value: the mean.
        error: its standard error.
        quantile: of Student's t.
        level: level of the interval.
        method: name of the interval in the result.

    Example:
        >>> mean_in_range("accuracy", 0.96, 0.02, 2.776).high < 1
        True
    """
    bottom, top = range_of(metric)
    position, spread = (value - bottom) / (top - bottom), error / (top - bottom)
    if spread < ROUNDING:
        return Interval(reason="the estimate does not vary")
    if not 0 < position < 1:
        return Interval(reason="the value is at the end of its range")
    if metric == "log_loss":
        factor = float(np.exp(quantile * error / value))
        return Interval(value / factor, min(value * factor, top), method)
    n_effective = position * (1 - position) / spread**2
    found = wilson(position * n_effective, n_effective, level=level, quantile=quantile)
    if found.low is None or found.high is None:
        return found
    low, high = (bottom + (top - bottom) * bound for bound in (found.low, found.high))
    return Interval(low, high, method)


def difference_in_range(metric: str, low: float, high: float) -> tuple[float, float]:
    """The bounds of a difference of a metric, cut to the differences that are possible.

    The true difference lies between them, so that this changes neither the coverage nor whether the interval
    contains 0.
    """
    bottom, top = range_of(metric)
    return max(low, bottom - top), min(high, top - bottom)
