"""The effective number of independent images and of independent groups, for images in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MORE_FREEDOM = 3.0  # the variance of counts varies less than that of normal values with as few groups


@dataclass(frozen=True)
class EffectiveSize:
    """What images in groups are worth for the mean of a quantity.

    Args:
        images: effective sample size, the number of independent images with the same standard error.
        freedom: degrees of freedom of the variance between groups; 0 for one group.
    """

    images: float
    freedom: float


def effective_size(sizes: np.ndarray, correlation: float) -> EffectiveSize:
    """The effective size of groups whose images are equally correlated.

    The sum over the m images of a group has a variance in proportion to w = m (1 + (m - 1) correlation). So
    n images are worth n² / sum w (Kish 1965), and a variance estimated from the groups has (sum w)² / sum w²
    - 1 degrees of freedom (Satterthwaite 1946).

    Args:
        sizes: (G,) images of each group; groups without images are ignored.
        correlation: intraclass correlation, between 0 and 1.

    Example:
        >>> import numpy as np
        >>> effective_size(np.array([4, 4, 4]), 1.0)  # identical images count once
        EffectiveSize(images=3.0, freedom=2.0)
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    variances = sizes * (1 + (sizes - 1) * correlation)
    total = float(variances.sum())
    if total == 0:
        return EffectiveSize(0.0, 0.0)
    return EffectiveSize(float(sizes.sum() ** 2) / total, total**2 / float((variances**2).sum()) - 1)


def effective_groups(sizes: np.ndarray) -> float:
    """The effective number of groups (Kish 1965): (Σ m)² / Σ m², as if the images of a group were identical.

    Args:
        sizes: (G,) images of each group.

    Example:
        >>> import numpy as np
        >>> effective_groups(np.array([2, 2])), effective_groups(np.array([3, 1]))
        (2.0, 1.6)
    """
    return effective_size(sizes, 1.0).images


def intraclass_correlation(samples: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Intraclass correlation of images of a group, between 0 and 1, pooled over samples.

    The estimate by analysis of variance (Donner 1986), (B - W) / (B + (m - 1) W) from the mean squares
    between and within groups, is averaged over the samples with the degrees of freedom between groups as
    weights. A rare class alone has too few groups for an estimate.

    Args:
        samples: values (N,) and group numbers (N,) of each sample, for example of each class.

    Returns:
        0 if no group has several images.
    """
    weighted, weights = 0.0, 0.0
    for values, codes in samples:
        sizes = np.bincount(codes)
        sums = np.bincount(codes, values)[sizes > 0]
        sizes = sizes[sizes > 0].astype(np.float64)
        n, groups = float(sizes.sum()), len(sizes)
        if groups < 2 or n == groups:
            continue
        between = float((sizes * (sums / sizes - values.mean()) ** 2).sum()) / (groups - 1)
        within = max(float((values**2).sum() - (sums**2 / sizes).sum()), 0.0) / (n - groups)
        size = (n - float((sizes**2).sum()) / n) / (groups - 1)
        spread = between + (size - 1) * within
        weighted += (groups - 1) * ((between - within) / spread if spread > 0 else 1.0)
        weights += groups - 1
    return float(np.clip(weighted / weights, 0.0, 1.0)) if weights else 0.0


def class_freedom(squares: np.ndarray, true: np.ndarray, correlation: float) -> float:
    """Degrees of freedom of a variance that is a sum over groups (Satterthwaite 1946), at least 1.

    The variance is divided among the classes: a group's part goes to the classes of its images. The part of a
    class has as many degrees of freedom as the class has groups, less one, plus ``MORE_FREEDOM``; with groups
    of uneven size, fewer.

    Args:
        squares: (J,) contribution of each group to the variance.
        true: (C, J) images of each class in each group.
        correlation: intraclass correlation of the images of a group.
    """
    true = true[true.sum(axis=1) > 0]
    variances = (squares * true / true.sum(axis=0)).sum(axis=1)
    freedoms = np.array([effective_size(row, correlation).freedom for row in true])
    freedoms += MORE_FREEDOM * (freedoms + 1) / (true > 0).sum(axis=1)
    total = float((variances**2 / freedoms).sum())
    return max(float(variances.sum()) ** 2 / total, 1.0) if total > 0 else 1.0
