"""Confidence intervals: Wilson's for proportions, the bootstrap over groups for other metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.effective_sample_size import class_freedom, effective_size

LEVEL = 0.95
RESAMPLES = 2000
METHODS = ("bca", "percentile")
FEWEST_GROUPS = 10  # with fewer, coverage falls to about 90 %
SMALLEST_DENOMINATOR = 0.01  # of the BCa transform; only levels far above 95 % reach it
LEAST_DEFINED = 0.9  # fraction of the resamples: with fewer, the interval would be biased


@dataclass(frozen=True)
class Interval:
    """The bounds of an interval, or the reason why there are none.

    Args:
        low, high: the bounds, in the unit of the metric.
        method: ``wilson``, ``score``, ``t``, ``jackknife``, ``bca`` or ``percentile``.
        reason: why there are no bounds.
        warning: why the interval may be too narrow.
    """

    low: float | None = None
    high: float | None = None
    method: str | None = None
    reason: str | None = None
    warning: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As in ``metrics.json``: ``low``, ``high``, and ``reason`` or ``method``, and any ``warning``."""
        bounds: dict[str, Any] = {"low": self.low, "high": self.high}
        if self.reason:
            return bounds | {"reason": self.reason}
        return bounds | {"method": self.method} | ({"warning": self.warning} if self.warning else {})


def wilson(successes: float, n: float, *, level: float = LEVEL, quantile: float | None = None) -> Interval:
    """Wilson's interval of a proportion of independent images (1927).

    Args:
        successes, n: the proportion is successes / n.
        level: level of the interval.
        quantile: used instead of the normal quantile, for example Student's.
    """
    if n <= 0:
        return Interval(reason="there are no images")
    z = float(ndtri(0.5 + level / 2)) if quantile is None else quantile
    proportion = successes / n
    center = (proportion + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(proportion * (1 - proportion) / n + z**2 / (4 * n**2))
    # At 0 and n successes, a bound is exactly 0 or 1, without rounding errors.
    low = 0.0 if successes == 0 else max(0.0, float(center - half))
    high = 1.0 if successes == n else min(1.0, float(center + half))
    return Interval(low, high, "wilson")


def grouped_wilson(
    successes: np.ndarray, totals: np.ndarray, *, true: np.ndarray | None = None, level: float = LEVEL
) -> Interval:
    """Wilson's interval for images in groups, computed for their effective sample size.

    Images of a group are correlated, so the effective sample size of n images is n / deff. The design effect
    deff is the variance of the proportion between groups, without bias for groups of one size (Bell &
    McCaffrey 2002), over the variance for n independent images (Saha, Miller & Wang 2016). Student's quantile
    replaces the normal one; its degrees of freedom are those of ``effective_size``, with the correlation that
    the design effect implies. At 0 or all successes, the correlation cannot be estimated, and the images of a
    group count as identical. With one image per group, it is Wilson's interval.

    Args:
        successes, totals: (G,) counts in each group; groups with a total of 0 are ignored.
        true: (C, G) images of each class. If given, the degrees of freedom are at most those of
            ``class_freedom``: the mistakes among the images of a prediction may all be those of few groups of
            a rare class.
        level: level of the interval.
    """
    counted = totals > 0
    successes, totals = successes[counted], totals[counted]
    n, groups = float(totals.sum()), len(totals)
    if groups == 0:
        return Interval(reason="there are no images")
    hits = float(successes.sum())
    if totals.max() == 1:
        return wilson(hits, n, level=level)
    if groups == 1:
        return Interval(reason="all images belong to one group")
    proportion = hits / n
    binomial = proportion * (1 - proportion) / n
    residuals = successes - proportion * totals
    between = float((residuals**2 / (n * (n - totals))).sum())
    identical = float((totals**2).sum()) / n  # the design effect of groups of identical images
    effect = max(between / binomial, 1.0) if binomial > 0 else identical
    correlation = min((effect - 1) / (identical - 1), 1.0)
    freedom = max(effective_size(totals, correlation).freedom, 1.0)
    if true is not None and binomial > 0:
        freedom = min(freedom, class_freedom(residuals**2, true[:, counted], correlation))
    quantile = float(stdtrit(freedom, 0.5 + level / 2))
    n_effective = n / effect
    return wilson(proportion * n_effective, n_effective, level=level, quantile=quantile)


def bootstrap_interval(
    value: float,
    replicates: np.ndarray,
    jackknife: np.ndarray | None = None,
    *,
    method: str = "bca",
    level: float = LEVEL,
    groups: int | None = None,
    effective: float | None = None,
) -> Interval:
    """Bootstrap interval of a metric from its values in the resamples.

    Args:
        value: the metric.
        replicates: (B,) its values in the resamples, NaN if undefined.
        jackknife: (J,) its values with one group, or a block of groups, left out; required by ``bca``.
        method: ``percentile``, or ``bca``, which corrects bias and skewness (Efron 1987).
        level: level of the interval.
        groups: number of groups G; widens the interval for small G (Hesterberg 2015, expanded percentile):
            the normal quantile becomes Student's times sqrt(G / (G - 1)). None: as ``scipy.stats.bootstrap``.
        effective: effective number of groups, which replaces G; None: G.

    Raises:
        ExciteError: for an unknown method.
    """
    if method not in METHODS:
        raise unknown_name("interval", method, METHODS)
    if reason := _undetermined(value, replicates, groups):
        return Interval(reason=reason)
    replicates = replicates[~np.isnan(replicates)]
    z = _quantile(level, groups if effective is None else effective)
    levels = ndtr(np.array([-z, z]))
    if method == "bca":
        shift, acceleration = bca_terms(value, replicates, jackknife)
        moved = shift + np.array([-z, z])
        levels = ndtr(shift + moved / np.maximum(1 - acceleration * moved, SMALLEST_DENOMINATOR))
    low, high = np.percentile(replicates, 100 * levels)
    return Interval(float(low), float(high), method)


def bca_terms(value: float, replicates: np.ndarray, jackknife: np.ndarray | None) -> tuple[float, float]:
    """Bias correction z0 and acceleration a (Efron & Tibshirani 1993, equations 14.14 and 14.15)."""
    if jackknife is None:
        raise ExciteError("a BCa interval needs jackknife values", exit_code=BAD_USAGE)
    below = ((replicates < value).mean() + (replicates <= value).mean()) / 2
    least = 1 / (len(replicates) + 1)
    shift = float(ndtri(np.clip(below, least, 1 - least)))
    defined = jackknife[~np.isnan(jackknife)]
    influence = defined.mean() - defined if len(defined) else np.zeros(1)
    spread = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    return shift, acceleration


def too_few(groups: int, label: str | None = None, needed: int = FEWEST_GROUPS) -> str:
    """Why this number of groups, of all classes or of one, gives no interval."""
    whose = "" if label is None else f" of class {label!r}"
    counted = f"1 group{whose} is" if groups == 1 else f"{groups} groups{whose} are"
    return f"{counted} too few; at least {needed} are needed"


def _quantile(level: float, groups: float | None) -> float:
    if groups is None:
        return float(ndtri(0.5 + level / 2))
    return float(stdtrit(groups - 1, 0.5 + level / 2) * np.sqrt(groups / (groups - 1)))


def _undetermined(value: float, replicates: np.ndarray, groups: int | None) -> str | None:
    if groups is not None and groups < FEWEST_GROUPS:
        return too_few(groups)
    defined = ~np.isnan(replicates)
    if np.isnan(value) or defined.mean() < LEAST_DEFINED:
        return "undefined in too many resamples: a class has too few images"
    if np.ptp(replicates[defined]) == 0:
        return "the estimate does not vary between resamples"
    return None
