"""Area under the ROC curve and average precision of a class against the rest, for many weightings at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True, eq=False)
class Ranking:
    """The order of images by a score, told as sums over groups, so that a matrix product reweights it.

    Only the scores at which a positive image stands matter: K of them, falling. A positive adds the share of
    negatives below it (AUROC), and the share of positives among all down to it (average precision).

    Args:
        positives: (K, G) positive images of each group at each of the K scores.
        negatives: (K, G) negative images from each score, included, up to the one before, excluded.
        level: (T, G) negatives exactly at the scores that ``tied`` names, which count half.
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
        # The number of the highest step at or below each score; K for those below all positives.
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

        ``negatives``: (B,) the weight of all negative images. NaN where a side is without weight. AUROC is
        that of Mann and Whitney, ties counting half; average precision sums over steps without
        interpolation: both as scikit-learn has them.
        """
        here = self.positives @ weights
        above = np.cumsum(self.negatives @ weights, axis=0)
        total = here.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            beaten = total * negatives - np.einsum("kb,kb->b", here, above)
            if len(self.tied):
                beaten += np.einsum("kb,kb->b", here[self.tied], self.level @ weights) / 2
            area = beaten / (total * negatives)
            caught = np.cumsum(here, axis=0)
            above += caught
            # Before the first weight nothing is caught either; such rows add 0.
            np.divide(caught, above, out=caught, where=above > 0)
            precision = np.einsum("kb,kb->b", here, caught) / total
        return area, precision


def count_table(rows: np.ndarray, columns: np.ndarray, height: int, width: int) -> sparse.csr_array:
    """(height, width) how often each pair of row and column occurs."""
    ones = np.ones(len(rows))
    table = sparse.coo_array((ones, (rows, columns)), shape=(height, width)).tocsr()
    table.sum_duplicates()
    return table
