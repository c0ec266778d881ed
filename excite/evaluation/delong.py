"""DeLong's test: the difference of two areas under the ROC curve on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.intervals import LEVEL
from excite.evaluation.matching import shared_images
from excite.evaluation.predictions import Predictions


@dataclass(frozen=True)
class AreaDifference:
    """AUROC of the second minus that of the first, for one class against the rest.

    Args:
        label: the positive class.
        first, second, value: the two areas and second - first.
        standard_error: standard error of the difference.
        low, high, p: interval and two-sided p value of no difference; None if both rank the images
            identically.
        n, groups: number of images and groups.
    """

    label: str
    first: float
    second: float
    value: float
    standard_error: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    groups: int


def delong(
    first: Predictions, second: Predictions, label: str | None = None, *, level: float = LEVEL
) -> AreaDifference:
    """The test of DeLong, DeLong & Clarke-Pearson (1988); with groups, that of Obuchowski (1997).

    Args:
        label: the positive class; by default the second of two.

    Raises:
        ExciteError: for an unknown class, more than two classes without ``label``, fewer than two groups with
            or without images of the class, and as ``shared_images``.
    """
    one, two = shared_images(first, second)
    if label is None:
        if len(one.classes) != 2:
            raise ExciteError(
                "DeLong's test of more than two classes needs a positive class (label)", exit_code=BAD_USAGE
            )
        label = one.classes[1]
    index = one.class_index(label)
    positive = one.targets == index
    codes = one.group_codes
    fewest = min(len(np.unique(codes[positive])), len(np.unique(codes[~positive])))
    if fewest < 2:
        what = f"DeLong's test needs at least two groups with {label!r} and two with other classes"
        raise ExciteError(what)
    areas, covariance = area_covariance(
        np.stack([one.probabilities[:, index], two.probabilities[:, index]]), positive, codes
    )
    gap = float(areas[1] - areas[0])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = float(np.sqrt(max(variance, 0.0)))
    groups = one.group_count
    low = high = p = None
    if error > 1e-12:  # smaller errors are rounding errors
        is_ungrouped = groups == len(one)
        quantile = ndtri(0.5 + level / 2) if is_ungrouped else stdtrit(groups - 1, 0.5 + level / 2)
        z = abs(gap) / error
        low, high = gap - float(quantile) * error, gap + float(quantile) * error
        p = 2 * float(ndtr(-z) if is_ungrouped else stdtr(groups - 1, -z))
    return AreaDifference(label, float(areas[0]), float(areas[1]), gap, error, low, high, p, len(one), groups)


def area_covariance(
    scores: np.ndarray, positive: np.ndarray, codes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Areas (K,) of K scorings and their covariance (K, K), from placement values.

    The placement of a positive is the fraction of negatives below it, with ties counted half; that of a
    negative is the fraction of positives above it. Midranks give all of them at once (Sun & Xu 2014). The
    placements are summed by group, and the covariance is that of the groups (Obuchowski 1997); with one image
    per group, it is DeLong's estimate.

    Args:
        scores: (K, N).
        positive: (N,) mask.
        codes: (N,) group numbers from 0.
    """
    m, n = int(positive.sum()), int((~positive).sum())
    groups = int(codes.max()) + 1
    areas = np.empty(len(scores))
    ups, downs = np.zeros((len(scores), groups)), np.zeros((len(scores), groups))
    for k, row in enumerate(scores):
        ranks = stats.rankdata(row)
        above = (ranks[positive] - stats.rankdata(row[positive])) / n
        below = 1 - (ranks[~positive] - stats.rankdata(row[~positive])) / m
        areas[k] = above.mean()
        ups[k] = np.bincount(codes[positive], above - areas[k], groups)
        downs[k] = np.bincount(codes[~positive], below - areas[k], groups)
    with_positive = len(np.unique(codes[positive]))
    with_negative = len(np.unique(codes[~positive]))
    cross = ups @ downs.T
    covariance = (
        with_positive / (with_positive - 1) * (ups @ ups.T) / m**2
        + with_negative / (with_negative - 1) * (downs @ downs.T) / n**2
        + (groups / (groups - 1) * (cross + cross.T) / (m * n))
    )
    return areas, covariance
