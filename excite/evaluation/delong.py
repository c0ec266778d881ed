"""DeLong's test: the difference of two areas under the ROC curve on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.class_groups import FEWEST_OF_A_CLASS
from excite.evaluation.intervals import LEVEL
from excite.evaluation.matching import shared_images
from excite.evaluation.placements import Placements, pooled_freedom
from excite.evaluation.predictions import Predictions
from excite.evaluation.ranges import difference_in_range


@dataclass(frozen=True)
class AreaDifference:
    """AUROC of the second minus that of the first, for one class against the rest.

    Args:
        label: the positive class.
        first, second, value: the two areas and second - first.
        standard_error: standard error of the difference.
        low, high, p: interval and two-sided p-value of no difference; None if both rank the images
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

    Student's t replaces the normal distribution: the variances of the two sides have as many degrees of
    freedom as they have groups, less one, and their sum has Satterthwaite's.

    Args:
        label: the positive class; by default the second of two.

    Raises:
        ExciteError: for an unknown class, more than two classes without ``label``, fewer than three groups
            with or without images of the class, and as ``shared_images``.
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
    if fewest < FEWEST_OF_A_CLASS:
        what = (
            f"DeLong's test needs at least {FEWEST_OF_A_CLASS} groups with {label!r} and as many without it"
        )
        raise ExciteError(what)
    scores = np.stack([one.probabilities[:, index], two.probabilities[:, index]])
    placements = Placements.of(scores, positive, codes)
    areas = placements.areas
    gap = float(areas[1] - areas[0])
    parts = [float(part[0, 0] + part[1, 1] - 2 * part[0, 1]) for part in placements.covariances()]
    error = float(np.sqrt(max(sum(parts), 0.0)))
    low = high = p = None
    if error > 1e-12:  # smaller errors are rounding errors
        sides = placements.effective_sizes()
        freedom = pooled_freedom((parts[0], parts[1]), (sides[0].freedom, sides[1].freedom))
        half = float(stdtrit(freedom, 0.5 + level / 2)) * error
        low, high = difference_in_range("auroc", gap - half, gap + half)
        p = 2 * float(stdtr(freedom, -abs(gap) / error))
    groups = one.group_count
    return AreaDifference(label, float(areas[0]), float(areas[1]), gap, error, low, high, p, len(one), groups)
