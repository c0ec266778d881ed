"""The interval of a mean over images that come in groups."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

from excite.evaluation.effective_sample_size import effective_groups
from excite.evaluation.intervals import FEWEST_GROUPS, LEVEL, Interval, too_few


def group_mean_interval(values: np.ndarray, codes: np.ndarray, *, level: float = LEVEL) -> Interval:
    """Student's interval of a mean, with the groups as units (Liang & Zeger 1986).

    The variance of the mean is that of the sums of the residuals over groups. The degrees of freedom are
    those of the effective number of groups (Kish 1965), which is smaller if their sizes differ.

    Args:
        values: (N,) one value per image, such as a paired difference.
        codes: (N,) group of each image, from 0.
        level: level of the interval.

    Returns:
        no bounds with fewer than 10 groups, or without variance.

    Example:
        >>> import numpy as np
        >>> interval = group_mean_interval(np.repeat(np.arange(10.0), 2), np.repeat(np.arange(10), 2))
        >>> round(interval.low, 2), round(interval.high, 2)
        (2.33, 6.67)
    """
    sizes = np.bincount(codes)
    sizes = sizes[sizes > 0]
    groups = len(sizes)
    if groups < FEWEST_GROUPS:
        return Interval(reason=too_few(groups))
    mean = float(values.mean())
    sums = np.bincount(codes, values - mean)
    variance = groups / (groups - 1) * float((sums**2).sum()) / len(values) ** 2
    if variance <= 1e-24 * max(1.0, mean**2):
        return Interval(reason="the values do not vary between groups")
    half = float(stdtrit(effective_groups(sizes) - 1, 0.5 + level / 2)) * variance**0.5
    return Interval(mean - half, mean + half, "t")
