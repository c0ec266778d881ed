"""Repeated looks at a growing study: levels with which all looks together have 5 % false positives.

A test at 5 % that is repeated while trainings are added finds a difference between equal arms in more than
5 % of studies. Here each look spends a part of the level (Lan & DeMets 1983): until the planned number of
trainings as O'Brien and Fleming's bounds do, which leaves most of it to the planned look, and beyond the plan
in ever smaller parts, so that trainings can be added without a maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

AT_THE_PLAN = 0.8
"""Part of the level that is spent when the planned number of trainings is reached; the rest is for trainings
that are added later (benchmarks/study_looks.py compares other values)."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(160)
FARTHEST = 15.0  # a normal quantile beyond every level of interest
SMALLEST = 1e-9  # smaller p-values adjusted for the looks are not told apart


def spent_level(fraction: float, alpha: float) -> float:
    """The level spent by a look at a fraction of the planned trainings, together with all looks before it.

    Until the plan, each side spends 2 - 2 Φ(z / sqrt(fraction)), where z is the two-sided quantile of its
    half of ``AT_THE_PLAN`` times alpha (Lan & DeMets 1983, O'Brien and Fleming's bounds). Beyond it, it is
    alpha (1 - (1 - ``AT_THE_PLAN``) / fraction), which approaches alpha.

    Args:
        fraction: trainings at the look over planned trainings, above 0.
        alpha: two-sided level of all looks together.

    Example:
        >>> [round(spent_level(fraction, 0.05), 4) for fraction in (0.5, 1, 2, 10)]
        [0.002, 0.04, 0.045, 0.049]
    """
    if fraction >= 1:
        return alpha * (1 - (1 - AT_THE_PLAN) / fraction)
    return 4 * float(ndtr(ndtri(AT_THE_PLAN * alpha / 4) / np.sqrt(fraction)))


def nominal_level(looks: Sequence[int], planned: int, alpha: float, *, shared: float = 0.0) -> float:
    """The level at which the last of several looks is tested, so that all together have level alpha.

    The estimates at the looks are correlated as means of n trainings whose variance is 1 / n plus a constant
    for what all trainings share. They have independent increments in the inverse of that variance, so the
    bounds follow by integration from look to look (Armitage, McPherson & Rowe 1969). A constant that is
    smaller than the true one is conservative.

    Args:
        looks: number of trainings at each look, ascending.
        planned: planned number of trainings.
        alpha: two-sided level of all looks together.
        shared: variance that all trainings share, over the variance between trainings.

    Returns: the level to compare an unadjusted two-sided p-value of the last look with.

    Example:
        >>> round(nominal_level([5], 5, 0.05), 4)
        0.04
        >>> round(nominal_level([5, 15], 5, 0.05), 4)
        0.0098
    """
    *before, last = looks
    return _last_look(tuple(before), last, planned, alpha, shared)[0]


def sequential_p(p: float, looks: Sequence[int], planned: int, *, shared: float = 0.0) -> float:
    """The smallest level of all looks together at which the last look finds a difference.

    With it, several comparisons are adjusted by Holm's procedure as with ordinary p-values (Ye, Li, Liu & Yao
    2013).

    Args:
        p: unadjusted two-sided p-value of the last look.
        looks, planned, shared: as for ``nominal_level``.

    Example:
        >>> round(sequential_p(0.04, [5], 5), 4)
        0.05
    """

    def excess(alpha: float) -> float:
        return nominal_level(looks, planned, alpha, shared=shared) - p

    if excess(SMALLEST) >= 0:
        return SMALLEST
    largest = 1 - SMALLEST
    return 1.0 if excess(largest) < 0 else float(brentq(excess, SMALLEST, largest, rtol=1e-4, xtol=1e-10))


@lru_cache(maxsize=4096)
def _last_look(
    before: tuple[int, ...], last: int, planned: int, alpha: float, shared: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """The nominal level of a look, and where the process is if no look has crossed its bound yet.

    Returns: the level, (N,) values of the process inside the bound, and (N,) their probabilities.
    """
    if before:
        _, values, weights = _last_look(before[:-1], before[-1], planned, alpha, shared)
        step = _information(last, shared) - _information(before[-1], shared)
        increment = spent_level(last / planned, alpha) - spent_level(before[-1] / planned, alpha)
    else:
        values, weights = np.zeros(1), np.ones(1)
        step, increment = _information(last, shared), spent_level(last / planned, alpha)
    deviation, root = np.sqrt(step), np.sqrt(_information(last, shared))

    def excess(z: float) -> float:
        beyond = ndtr((-z * root - values) / deviation) + ndtr((values - z * root) / deviation)
        return float(weights @ beyond) - increment

    z = FARTHEST if excess(FARTHEST) >= 0 or increment <= 0 else float(brentq(excess, 0, FARTHEST))
    inside = z * root * NODES
    moves = np.exp(-0.5 * ((inside[:, None] - values) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
    return 2 * float(ndtr(-z)), inside, z * root * WEIGHTS * (moves @ weights)


def _information(trainings: int, shared: float) -> float:
    return 1 / (shared + 1 / trainings)
