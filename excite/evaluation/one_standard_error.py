"""The one-standard-error rule, for losses on images in groups."""

from __future__ import annotations

import numpy as np


def first_within_error(losses: np.ndarray, groups: np.ndarray) -> int:
    """The first row of losses (candidates, N) whose mean is within one standard error of the lowest.

    It is the standard error of the difference from the lowest row, by the ratio estimator over groups: images
    of one group are not independent (Breiman et al. 1984, section 3.4.3).

    Args:
        losses: (candidates, N), the simplest candidate first.
        groups: (N,) codes or names of the groups.

    Example:
        >>> chance = np.array([0.5, -0.5, 0.4, -0.3])  # on average 0.025, within its standard error
        >>> first_within_error(np.stack([chance, np.zeros(4)]), np.arange(4))
        0
    """
    best = int(losses.mean(axis=1).argmin())
    codes = np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1
    for row in range(best):
        differences = losses[row] - losses[best]
        mean = differences.mean()
        sums = np.bincount(codes, differences - mean, count)
        error = np.sqrt(count / max(1, count - 1) * (sums**2).sum()) / len(differences)
        if mean <= error:
            return row
    return best
