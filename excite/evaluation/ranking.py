"""AUROC and average precision of a class against the rest, under many weightings at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True, eq=False)
class Ranking:
    """The ranking of images by a score, as sums over groups, so that a matrix product reweights it.

    Only the K distinct scores of positive images matter, in descending order. Each positive image contributes
    the fraction of negatives below it (AUROC) and the fraction of positives among the images down to it
    (average precision).

    Args:
        positives: (K, G) positive images of each group at each of the K scores.
        negatives: (K, G) negative images from each score (inclusive) to the previous one (exclusive).
        level: (T, G) negatives exactly at the scores in ``tied``, which count half.
        tied: (T,) indices into the K scores.
    """

    positives: sparse.csr_array
    negatives: sparse.csr_array
    level: sparse.csr_array
    tied: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray, codes: np.ndarray, groups: int) -> Ranking:
        """From scores (N,), a mask of positives (N,) and group numbers (N,) below ``groups``."""
        steps = np.unique(scores[positive])[::-1]
        # Index of the highest step at or below each score; K for scores below all positives.
        place = np.searchsorted(-steps, -scores, side="left")
        below = ~positive & (place < len(steps))
        level = below.copy()
        level[below] = steps[place[below]] == scores[below]
        tied, rows = np.unique(place[level], return_inverse=True)
        return cls(
            count_table(place[positive], codes[positive], len(steps), groups),
            count_table(place[below], codes[below], len(steps), groups),
            count_table(rows, codes[level], len(tied), groups),
            tied,
        )

    def areas(self, weights: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """AUROC and average precision (B,) under each column of weights (G, B).

        ``negatives``: (B,) total weight of the negative images. NaN if one side has no weight. AUROC is the
        Mann-Whitney statistic, with ties counted half; average precision sums over steps without
        interpolation: both as in scikit-learn.
        """
        at_step = self.positives @ weights
        above = np.cumsum(self.negatives @ weights, axis=0)
        total = at_step.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            beaten = total * negatives - np.einsum("kb,kb->b", at_step, above)
            if len(self.tied):
                beaten += np.einsum("kb,kb->b", at_step[self.tied], self.level @ weights) / 2
            area = beaten / (total * negatives)
            caught = np.cumsum(at_step, axis=0)
            above += caught
            # Rows before the first weight add 0.
            np.divide(caught, above, out=caught, where=above > 0)
            precision = np.einsum("kb,kb->b", at_step, caught) / total
        return area, precision


def count_table(rows: np.ndarray, columns: np.ndarray, height: int, width: int) -> sparse.csr_array:
    """(height, width) number of occurrences of each pair of row and column."""
    ones = np.ones(len(rows))
    table = sparse.coo_array((ones, (rows, columns)), shape=(height, width)).tocsr()
    table.sum_duplicates()
    return table
