"""Intervals of means: of a loss over images, and of a metric over classes or repeats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from excite.evaluation.intervals import LEVEL, Interval

ROUNDING = 1e-12


def mean_of_intervals(
    values: Sequence[float], intervals: Sequence[Interval], influences: np.ndarray
) -> Interval:
    """Interval of the mean of K estimates from their own intervals (MOVER; Zou & Donner 2008).

    The squared distance of a bound of the mean from it is the variance of a mean of correlated terms, with
    the distances of the K bounds as standard errors. For a rare class, whose images may all be right by
    chance, its own interval stays wide.

    Args:
        values: the K estimates.
        intervals: their intervals; if one has a reason instead, so has the mean.
        influences: (K, J) the estimates with one group left out at a time, for their correlation; NaN where
            undefined.
    """
    for interval in intervals:
        if interval.low is None or interval.high is None:
            return Interval(reason=interval.reason)
    centers = np.asarray(values, dtype=np.float64)
    lows = centers - np.array([interval.low for interval in intervals], dtype=np.float64)
    highs = np.array([interval.high for interval in intervals], dtype=np.float64) - centers
    correlations = _correlations(influences)
    mean, count = float(centers.mean()), len(centers)
    below, above = (float(np.sqrt(max(gaps @ correlations @ gaps, 0.0))) / count for gaps in (lows, highs))
    return Interval(mean - below, mean + above, intervals[0].method)


def mean_loss_interval(
    value: float, left_out: np.ndarray, freedom: float, *, highest: float, level: float = LEVEL
) -> Interval:
    """Interval of a mean loss by Student's t after Hall's (1992) transformation, which removes skewness.

    A few images may carry most of a loss. Then its distribution is skewed, and the usual interval is too low.

    Args:
        value: the mean loss.
        left_out: (J,) its values with one group, or a block of groups, left out.
        freedom: degrees of freedom that the sizes of the groups give. Their harmonic mean with those that the
            kurtosis of the losses gives (Satterthwaite 1946) is used.
        highest: upper end of the range.
        level: level of the interval.
    """
    influences = left_out.mean() - left_out
    squares = influences**2
    variance = float(squares.sum())
    if np.isnan(value) or np.isnan(variance):
        return Interval(reason="undefined without one of the groups")
    if np.sqrt(variance) < ROUNDING * max(1.0, abs(value)):
        return Interval(reason="the estimate does not vary between groups")
    blocks = len(influences)
    excess = float((squares**2).sum()) / variance**2 - 1 / blocks
    by_kurtosis = min(blocks - 1.0, 2 / max(excess, 2 / (blocks - 1)))
    freedom = max(2 / (1 / max(freedom, 0.5) + 1 / by_kurtosis), 1.0)
    quantile = float(stdtrit(freedom, 0.5 + level / 2))
    skewness = float((influences**3).sum()) / variance**1.5  # of the mean: that of an image over √n
    below, above = (hall_inverse(z, skewness) * np.sqrt(variance) for z in (quantile, -quantile))
    return Interval(max(value - float(below), 0.0), min(value - float(above), highest), "t")


def hall_inverse(quantile: float, skewness: float) -> float:
    """The studentized mean whose transform is ``quantile`` (Hall 1992).

    The transform t + s t² / 3 + s² t³ / 27 + s / 6, with the skewness s of the mean, is nearly symmetric.
    """
    if abs(skewness) < 1e-9:
        return quantile
    return float(np.cbrt(1 + skewness * (quantile - skewness / 6)) - 1) * 3 / skewness


def _correlations(influences: np.ndarray) -> np.ndarray:
    """(K, K) correlations of the rows; 0 with a row that does not vary."""
    defined = ~np.isnan(influences)
    counts = np.maximum(defined.sum(axis=1, keepdims=True), 1)
    means = np.where(defined, influences, 0).sum(axis=1, keepdims=True) / counts
    centered = np.where(defined, influences - means, 0)
    norms = np.sqrt((centered**2).sum(axis=1, keepdims=True))
    scaled = np.where(norms > ROUNDING, centered / np.maximum(norms, ROUNDING), 0)
    correlations: np.ndarray = np.clip(scaled @ scaled.T, -1, 1)
    np.fill_diagonal(correlations, 1.0)
    return correlations
