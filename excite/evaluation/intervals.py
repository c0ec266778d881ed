"""95 % intervals: Wilson's for so many of so many, the bootstrap over groups for everything else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from excite.errors import BAD_USAGE, ExciteError, unknown_name

LEVEL = 0.95
RESAMPLES = 2000
METHODS = ("bca", "percentile")
FEWEST_GROUPS = 10  # fewer cannot say how groups differ; coverage has fallen to about 90 % there
NEARLY_FLAT = 0.01  # BCa turns back on itself at 0, which only levels far above 95 % can reach
LEAST_DEFINED = 0.9  # of the resamples: with fewer, the interval would be that of the lucky ones


@dataclass(frozen=True)
class Interval:
    """Bounds, or why there are none.

    Args:
        low, high: the bounds, in the figure's unit.
        method: ``wilson``, ``bca`` or ``percentile``.
        why: why there are no bounds.
    """

    low: float | None = None
    high: float | None = None
    method: str | None = None
    reason: str | None = None


def wilson(successes: float, n: float, *, level: float = LEVEL, quantile: float | None = None) -> Interval:
    """Interval of a proportion of independent images (Wilson 1927).

    Args:
        quantile: to be used instead of the normal distribution's, such as Student's.
    """
    if n <= 0:
        return Interval(reason="there are no images to count")
    z = float(ndtri(0.5 + level / 2)) if quantile is None else quantile
    share = successes / n
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At 0 and n successes a bound is exactly 0 or 1; rounding must not leave it beside.
    low = 0.0 if successes == 0 else max(0.0, float(center - half))
    high = 1.0 if successes == n else min(1.0, float(center + half))
    return Interval(low, high, "wilson")


def grouped_wilson(successes: np.ndarray, totals: np.ndarray, *, level: float = LEVEL) -> Interval:
    """Wilson's interval for images that come in groups, with the number of independent images they are worth.

    Images of a group resemble each other: n of them are worth n / deff, where the design effect deff is the
    variance of the proportion between groups over that of n independent images (Saha, Miller & Wang 2016).
    That variance is the jackknife's, and Student's quantile for n² / sum m² groups of m images (Kish 1965)
    replaces the normal one, so that uneven groups are not taken for many. At 0 or all successes nothing
    shows how alike a group's images are, so they count as if quite alike. With one image a group it is
    Wilson's own interval.

    Args:
        successes, totals: (G,) counts in each group; groups with a total of 0 do not count.
    """
    successes, totals = successes[totals > 0], totals[totals > 0]
    n, groups = float(totals.sum()), len(totals)
    if groups == 0:
        return Interval(reason="there are no images to count")
    hits = float(successes.sum())
    if totals.max() == 1:
        return wilson(hits, n, level=level)
    if groups == 1:
        return Interval(reason="all images are of one group")
    share = hits / n
    binomial = share * (1 - share) / n
    # Each group's pull on the share if it were left out: large groups would else hide how far they pull.
    between = float((((successes - share * totals) / (n - totals)) ** 2).sum())
    alike = float((totals**2).sum()) / n  # the design effect of groups of identical images
    effect = max(between / binomial, 1.0) if binomial > 0 else alike
    quantile = float(stdtrit(max(n / alike - 1, 1.0), 0.5 + level / 2))
    worth = n / effect
    return wilson(share * worth, worth, level=level, quantile=quantile)


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
    """Interval from a figure's values in the resamples.

    Args:
        value: the figure.
        replicates: (B,) its values in the resamples, NaN where it was not defined.
        jackknife: (J,) its values with a group, or a block of groups, left out; ``bca`` needs it.
        method: ``percentile``, or ``bca``, which corrects bias and skewness (Efron 1987).
        groups: widen for a small number of groups (Hesterberg 2015, expanded percentile): the bootstrap's
            normal quantile becomes Student's times sqrt(G / (G - 1)). None: as ``scipy.stats.bootstrap``.
        effective: how many groups of one size these are worth, for G in that widening; None: all of them.

    Raises:
        ExciteError: for an unknown method.
    """
    if method not in METHODS:
        raise unknown_name("interval", method, METHODS)
    if reason := _too_little(value, replicates, groups):
        return Interval(reason=reason)
    replicates = replicates[~np.isnan(replicates)]
    z = _quantile(level, groups if effective is None else effective)
    levels = ndtr(np.array([-z, z]))
    if method == "bca":
        shift, acceleration = bca_terms(value, replicates, jackknife)
        moved = shift + np.array([-z, z])
        levels = ndtr(shift + moved / np.maximum(1 - acceleration * moved, NEARLY_FLAT))
    low, high = np.percentile(replicates, 100 * levels)
    return Interval(float(low), float(high), method)


def bootstrap_p_value(
    value: float, replicates: np.ndarray, jackknife: np.ndarray | None, *, method: str = "bca", groups: int
) -> float | None:
    """The level at which ``bootstrap_interval`` just reaches 0: two-sided, at least 1 / (resamples + 1)."""
    if _too_little(value, replicates, groups):
        return None
    replicates = replicates[~np.isnan(replicates)]
    least = 1 / (len(replicates) + 1)
    below = ((replicates < 0).mean() + (replicates <= 0).mean()) / 2
    at = float(ndtri(np.clip(below, least / 2, 1 - least / 2)))
    if method == "bca":
        shift, acceleration = bca_terms(value, replicates, jackknife)
        moved = at - shift
        at = moved / max(1 + acceleration * moved, NEARLY_FLAT) - shift
    p = 2 * float(stdtr(groups - 1, -abs(at) * np.sqrt((groups - 1) / groups)))
    return max(p, least)


def bca_terms(value: float, replicates: np.ndarray, jackknife: np.ndarray | None) -> tuple[float, float]:
    """Bias correction z0 and acceleration a (Efron & Tibshirani 1993, equations 14.14 and 14.15)."""
    if jackknife is None:
        raise ExciteError("a BCa interval needs the figure's jackknife values", exit_code=BAD_USAGE)
    below = ((replicates < value).mean() + (replicates <= value).mean()) / 2
    least = 1 / (len(replicates) + 1)
    shift = float(ndtri(np.clip(below, least, 1 - least)))
    left = jackknife[~np.isnan(jackknife)]
    influence = left.mean() - left if len(left) else np.zeros(1)
    spread = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    return shift, acceleration


def too_few(groups: int) -> str:
    """Why so many groups give no bootstrap interval."""
    have = "1 group is" if groups == 1 else f"{groups} groups are"
    return f"{have} too few to resample; {FEWEST_GROUPS} are needed"


def _quantile(level: float, groups: float | None) -> float:
    if groups is None:
        return float(ndtri(0.5 + level / 2))
    return float(stdtrit(groups - 1, 0.5 + level / 2) * np.sqrt(groups / (groups - 1)))


def _too_little(value: float, replicates: np.ndarray, groups: int | None) -> str | None:
    if groups is not None and groups < FEWEST_GROUPS:
        return too_few(groups)
    defined = ~np.isnan(replicates)
    if np.isnan(value) or defined.mean() < LEAST_DEFINED:
        return "not defined in too many resamples: there are too few images of a class"
    if np.ptp(replicates[defined]) == 0:
        return "every resample gives the same value, so they tell nothing of its spread"
    return None
