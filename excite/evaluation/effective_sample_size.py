"""Wilson's interval for any figure: for as many independent images as these are worth for it."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

from excite.evaluation.intervals import FEWEST_GROUPS, LEVEL, Interval, too_few, wilson

MAX_NLL = float(-np.log(np.finfo(np.float64).eps))  # an image's log loss at most, 36 nats
RANGES = {"mcc": (-1.0, 1.0), "kappa": (-1.0, 1.0), "log_loss": (0.0, MAX_NLL)}  # others: 0 to 1
OF_PROBABILITIES = ("auroc", "average_precision", "log_loss", "brier")
ROUNDING = 1e-12  # below this spread, rounding is all there is


def jackknife_interval(
    name: str,
    value: float,
    left_out: np.ndarray,
    *,
    level: float = LEVEL,
    groups: int,
    effective: float | None = None,
) -> Interval:
    """Interval of a figure from its values with one group left out at a time.

    They give its variance: the sum of (left_out - mean)², which is Tukey's times G / (G - 1). With p the
    figure's place in its range (0 to 1), the images are worth the p(1 - p) / variance independent ones of a
    proportion as uncertain, and the interval is Wilson's for so many: the effective sample size of
    surveys (Korn & Graubard 1998), for figures beyond proportions too; benchmarks/intervals.py says how
    often it holds the truth. The spread is that at the bound, so bounds lean inwards and stay in the range.

    Student's quantile has ``effective`` - 1 degrees of freedom. Figures of probabilities may hang on a few
    images, and so may their variance: there, Satterthwaite's 2 / (b - 1/G) degrees if they are fewer (1946),
    with b = sum d⁴ / (sum d²)², d = left_out - mean.

    Args:
        name: of ``metrics.OVERALL`` or ``metrics.PER_CLASS``; it tells the range.
        left_out: (J,) values with a group, or a block of groups, left out.
        groups: how many there are; fewer than ``FEWEST_GROUPS`` give no interval.
        effective: how many groups of one size these are worth; None: all of them.
    """
    if groups < FEWEST_GROUPS:
        return Interval(reason=too_few(groups))
    if np.isnan(value) or np.isnan(left_out).any():
        return Interval(reason="not defined without one of the groups: there are too few images of a class")
    freedom = (groups if effective is None else effective) - 1
    if freedom < 1:
        return Interval(reason="one group has nearly all of the images")
    bottom, top = RANGES.get(name, (0.0, 1.0))
    share = (value - bottom) / (top - bottom)
    squares = ((left_out - left_out.mean()) / (top - bottom)) ** 2
    variance = float(squares.sum())
    if np.sqrt(variance) < ROUNDING:
        return Interval(
            reason="leaving out any group gives the same value, so they tell nothing of its spread"
        )
    if not 0 < share < 1:
        return Interval(reason="at the end of its range nothing tells how far it may be from it")
    if name in OF_PROBABILITIES:
        excess = float((squares**2).sum()) / variance**2 - 1 / len(squares)
        freedom = min(freedom, 2 / max(excess, 2 / freedom))
    worth = share * (1 - share) / variance
    found = wilson(share * worth, worth, level=level, quantile=float(stdtrit(freedom, 0.5 + level / 2)))
    if found.low is None or found.high is None:
        return found
    low, high = (bottom + (top - bottom) * bound for bound in (found.low, found.high))
    return Interval(low, high, "jackknife")
