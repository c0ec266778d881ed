"""Intervals of AUROC and average precision that hold for a rare class, too."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

from excite.evaluation.intervals import LEVEL, Interval, wilson
from excite.evaluation.placements import Placements, pooled_freedom

PRIOR_FREEDOM = 10.0  # weight of the variance that theory expects of an AUROC, in degrees of freedom
PRIOR_FREEDOM_OF_PRECISION = 3.0  # likewise of an average precision, whose theory is rougher
LARGEST_SHARE = 1e-9  # keeps the search for a bound away from the ends of the range, where the variance is 0


class RankingIntervals:
    """Intervals of the AUROC and the average precision of one class against the rest.

    The variance estimated from few positive images is often far too small, mostly when the estimate happens
    to be high. So it is averaged with the variance that theory expects of such an estimate, weighted by its
    degrees of freedom against a fixed number.

    Args:
        scores: (N,) probability of the class.
        positive: (N,) mask of its images.
        codes: (N,) group numbers from 0.
    """

    def __init__(self, scores: np.ndarray, positive: np.ndarray, codes: np.ndarray) -> None:
        self.placements = Placements.of(scores[None], positive, codes)
        sides = self.placements.effective_sizes()
        self.positives, self.negatives = (side.images for side in sides)
        parts = [float(part[0, 0]) for part in self.placements.covariances()]
        self.variance = max(sum(parts), 0.0)
        # Without variance, as for a perfect ranking, nothing is known of it.
        known = self.variance > 1e-14
        freedoms = (sides[0].freedom, sides[1].freedom)
        self.freedom = pooled_freedom((parts[0], parts[1]), freedoms) if known else 0.0

    def auroc(self, level: float = LEVEL, *, excess: float = 1.0) -> Interval:
        """Interval of the AUROC: the areas A that differ from the estimate by at most t √V(A).

        V is Hanley and McNeil's (1982) variance with the mean of both sample sizes in two places, as Newcombe
        (2006, method 5) proposes, for the effective sample sizes. It is multiplied by the ratio, averaged as
        above, of the estimated variance (DeLong et al. 1988, Obuchowski 1997) to it.

        Args:
            level: level of the interval.
            excess: factor by which the variance of an area of 0.5 is larger than the scores tell; it fades
                as the square of 4 A (1 - A).
        """
        area = float(self.placements.areas[0])
        smallest = 0.5 / (self.positives * self.negatives)
        expected = self._variance(float(np.clip(area, smallest, 1 - smallest)))
        ratio = self._average(1.0, self.variance / expected, PRIOR_FREEDOM)
        quantile = self._quantile(level, PRIOR_FREEDOM)

        def beyond(other: float) -> float:
            larger = 1 + (excess - 1) * (4 * other * (1 - other)) ** 2
            return abs(area - other) - quantile * float(np.sqrt(ratio * larger * self._variance(other)))

        inner_low, inner_high = min(area, 1 - LARGEST_SHARE), max(area, LARGEST_SHARE)
        low = float(brentq(beyond, 0.0, inner_low)) if area > 0 else 0.0
        high = float(brentq(beyond, inner_high, 1.0)) if area < 1 else 1.0
        return Interval(low, high, "score")

    def average_precision(self, value: float, left_out: np.ndarray, level: float = LEVEL) -> Interval:
        """Wilson's interval of the average precision, for an effective number of positives.

        The expected variance is that of a proportion of the effective positives (Boyd, Eng & Page 2013).

        Args:
            value: the average precision.
            left_out: (J,) its values with one group, or block of groups, left out.
            level: level of the interval.
        """
        inner = float(np.clip(value, 0.25 / self.positives, 1 - 0.25 / self.positives))
        estimated = float(((left_out - left_out.mean()) ** 2).sum()) / (inner * (1 - inner))
        if np.isnan(estimated):  # undefined without one of the groups
            estimated = 1 / self.positives
        prior = PRIOR_FREEDOM_OF_PRECISION
        n_effective = 1 / self._average(1 / self.positives, estimated, prior)
        interval = wilson(value * n_effective, n_effective, quantile=self._quantile(level, prior))
        return Interval(interval.low, interval.high, "score")

    def _average(self, expected: float, estimated: float, prior: float) -> float:
        weight = prior / (prior + self.freedom)
        return weight * expected + (1 - weight) * estimated

    def _quantile(self, level: float, prior: float) -> float:
        return float(stdtrit(self.freedom + prior, 0.5 + level / 2))

    def _variance(self, area: float) -> float:
        half = (self.positives + self.negatives) / 2 - 1
        terms = 1 + half * (1 - area) / (2 - area) + half * area / (1 + area)
        return area * (1 - area) * terms / (self.positives * self.negatives)
