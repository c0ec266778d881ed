"""Placement values: where each image ranks among those of the other side, and the AUROC from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from excite.evaluation.effective_sample_size import EffectiveSize, effective_size, intraclass_correlation


@dataclass(frozen=True, eq=False)
class Placements:
    """Placement values of K scorings of the same images, for one class against the rest.

    The placement of a positive is the fraction of negatives below it, with ties counted half; that of a
    negative is the fraction of positives above it. Midranks give all of them at once (Sun & Xu 2014).

    Args:
        areas: (K,) AUROC of each scoring.
        positives: (K, m) placements of the positive images.
        negatives: (K, n) placements of the negative images.
        positive_codes, negative_codes: (m,) and (n,) their groups.
        groups: number of groups G.
    """

    areas: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    positive_codes: np.ndarray
    negative_codes: np.ndarray
    groups: int

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray, codes: np.ndarray) -> Placements:
        """From scores (K, N), a mask of positives (N,) and group numbers (N,) from 0."""
        m, n = int(positive.sum()), int((~positive).sum())
        ranks = stats.rankdata(scores, axis=1)
        above = (ranks[:, positive] - stats.rankdata(scores[:, positive], axis=1)) / n
        below = 1 - (ranks[:, ~positive] - stats.rankdata(scores[:, ~positive], axis=1)) / m
        groups = int(codes.max()) + 1
        return cls(above.mean(axis=1), above, below, codes[positive], codes[~positive], groups)

    @property
    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """(G,) positive and (G,) negative images of each group."""
        return (
            np.bincount(self.positive_codes, minlength=self.groups),
            np.bincount(self.negative_codes, minlength=self.groups),
        )

    def covariances(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The covariance (K, K) of the areas, as its parts: positives, negatives, and both in one group.

        The placements are summed by group, and the covariance is that of the groups (Obuchowski 1997); with
        one image per group, it is DeLong's estimate.
        """
        m, n = self.positives.shape[1], self.negatives.shape[1]
        ups, downs = (
            np.stack(
                [
                    np.bincount(codes, row - area, self.groups)
                    for row, area in zip(rows, self.areas, strict=True)
                ]
            )
            for rows, codes in ((self.positives, self.positive_codes), (self.negatives, self.negative_codes))
        )
        with_positive, with_negative = (int((sizes > 0).sum()) for sizes in self.sizes)
        cross = ups @ downs.T
        return (
            with_positive / max(with_positive - 1, 1) * (ups @ ups.T) / m**2,
            with_negative / max(with_negative - 1, 1) * (downs @ downs.T) / n**2,
            self.groups / (self.groups - 1) * (cross + cross.T) / (m * n),
        )

    def effective_sizes(self) -> tuple[EffectiveSize, EffectiveSize]:
        """The effective sizes of the positives and of the negatives.

        Their correlation within groups is that of the placements or, of two scorings, of their differences.
        """
        sides = [(self.positives, self.positive_codes), (self.negatives, self.negative_codes)]
        values = [(rows[-1] - (rows[0] if len(rows) > 1 else 0), codes) for rows, codes in sides]
        correlation = intraclass_correlation(values)
        positives, negatives = (effective_size(sizes, correlation) for sizes in self.sizes)
        return positives, negatives


def pooled_freedom(variances: tuple[float, float], freedoms: tuple[float, float]) -> float:
    """Degrees of freedom of a sum of variances (Satterthwaite 1946, Welch 1947); 0 without variance."""
    total = sum(variances)
    parts = sum(
        variance**2 / freedom if freedom > 0 else (np.inf if variance > 0 else 0.0)
        for variance, freedom in zip(variances, freedoms, strict=True)
    )
    return total**2 / parts if parts > 0 else 0.0
