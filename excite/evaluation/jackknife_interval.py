"""Wilson's interval for any metric in a range, computed for its effective sample size."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

from excite.evaluation.effective_sample_size import class_freedom
from excite.evaluation.intervals import LEVEL, Interval
from excite.evaluation.ranges import mean_in_range, range_of

ROUNDING = 1e-12  # a smaller spread is a rounding error


def jackknife_interval(
    name: str,
    value: float,
    left_out: np.ndarray,
    true: np.ndarray,
    *,
    level: float = LEVEL,
    correlation: float = 0.0,
) -> Interval:
    """Interval of a metric from its values with one group left out at a time.

    The leave-one-out values estimate the variance: the sum of (left_out - mean)², which is Tukey's times
    G / (G - 1). With p the position of the metric in its range (0 to 1), the effective sample size is
    n_eff = p (1 - p) / variance, and the interval is Wilson's for n_eff images (Korn & Graubard 1998, here
    also for metrics other than proportions; benchmarks/intervals.py measures the coverage). Bounds lean
    inward and stay in the range.

    Student's quantile has the degrees of freedom of ``class_freedom``, so that few groups of a rare class
    widen the interval.

    Args:
        name: in ``metrics.OVERALL`` or ``metrics.PER_CLASS``; determines the range.
        value: the metric.
        left_out: (J,) values with one group, or a block of groups, left out.
        true: (C, J) images of each class in what is left out.
        level: level of the interval.
        correlation: intraclass correlation of the images of a group.
    """
    if np.isnan(value) or np.isnan(left_out).any():
        return Interval(reason="undefined without one of the groups: a class has too few images")
    bottom, top = range_of(name)
    squares = ((left_out - left_out.mean()) / (top - bottom)) ** 2
    error = (top - bottom) * float(np.sqrt(squares.sum()))
    if error < ROUNDING:
        return Interval(reason="the estimate does not vary between groups")
    quantile = float(stdtrit(class_freedom(squares, true, correlation), 0.5 + level / 2))
    return mean_in_range(name, value, error, quantile, level=level, method="jackknife")
