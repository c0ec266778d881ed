"""Wilson's interval for any metric, computed for its effective sample size."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

from excite.evaluation.intervals import FEWEST_GROUPS, LEVEL, Interval, too_few, wilson

MAX_NLL = float(-np.log(np.finfo(np.float64).eps))  # largest log loss of an image, 36 nats
RANGES = {"mcc": (-1.0, 1.0), "kappa": (-1.0, 1.0), "log_loss": (0.0, MAX_NLL)}  # others: 0 to 1
OF_PROBABILITIES = ("auroc", "average_precision", "log_loss", "brier")
ROUNDING = 1e-12  # a smaller spread is a rounding error


def jackknife_interval(
    name: str,
    value: float,
    left_out: np.ndarray,
    *,
    level: float = LEVEL,
    groups: int,
    effective: float | None = None,
) -> Interval:
    """Interval of a metric from its values with one group left out at a time.

    The leave-one-out values estimate the variance: the sum of (left_out - mean)², which is Tukey's times
    G / (G - 1). With p the position of the metric in its range (0 to 1), the effective sample size is
    n_eff = p (1 - p) / variance, and the interval is Wilson's for n_eff images (Korn & Graubard 1998, here
    also for metrics other than proportions; benchmarks/intervals.py measures the coverage). Bounds lean
    inward and stay in the range.

    Student's quantile has ``effective`` - 1 degrees of freedom. Metrics of probabilities, and their variance,
    may depend on a few images; for them, the degrees of freedom are at most Satterthwaite's (1946)
    2 / (b - 1/G), with b = sum d⁴ / (sum d²)² and d = left_out - mean.

    Args:
        name: in ``metrics.OVERALL`` or ``metrics.PER_CLASS``; determines the range.
        value: the metric.
        left_out: (J,) values with one group, or a block of groups, left out.
        level: level of the interval.
        groups: number of groups; fewer than ``FEWEST_GROUPS`` give no interval.
        effective: effective number of groups; None: all of them.
    """
    if groups < FEWEST_GROUPS:
        return Interval(reason=too_few(groups))
    if np.isnan(value) or np.isnan(left_out).any():
        return Interval(reason="undefined without one of the groups: a class has too few images")
    freedom = (groups if effective is None else effective) - 1
    if freedom < 1:
        return Interval(reason="one group contains nearly all images")
    bottom, top = RANGES.get(name, (0.0, 1.0))
    position = (value - bottom) / (top - bottom)
    squares = ((left_out - left_out.mean()) / (top - bottom)) ** 2
    variance = float(squares.sum())
    if np.sqrt(variance) < ROUNDING:
        return Interval(reason="the estimate does not vary between groups")
    if not 0 < position < 1:
        return Interval(reason="the value is at the end of its range")
    if name in OF_PROBABILITIES:
        excess = float((squares**2).sum()) / variance**2 - 1 / len(squares)
        freedom = min(freedom, 2 / max(excess, 2 / freedom))
    n_effective = position * (1 - position) / variance
    interval = wilson(
        position * n_effective, n_effective, level=level, quantile=float(stdtrit(freedom, 0.5 + level / 2))
    )
    if interval.low is None or interval.high is None:
        return interval
    low, high = (bottom + (top - bottom) * bound for bound in (interval.low, interval.high))
    return Interval(low, high, "jackknife")
