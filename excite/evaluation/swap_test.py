"""The test of a paired difference that swaps the predictions of two classifiers within groups.

If two classifiers are equally good, nothing changes in distribution when their predictions of a group are
exchanged. So the difference of a metric is compared with the differences after random swaps (Fisher 1935,
section 21; for AUROC, Bandos, Rockette & Gur 2005). The level holds for any number of groups, however rare a
class is: swaps never change the labels.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse, stats

from excite.evaluation.predictions import Predictions
from excite.evaluation.ranking import Ranking
from excite.evaluation.resampling import GroupSums, Values, jackknife_weights

ROUNDING = 1e-12  # differences that are closer are equal
MOST_EXACT = 40  # groups up to which every swap is computed; with more, its first-order effect


@dataclass(frozen=True)
class SwapTest:
    """The result of a swap test.

    Args:
        p: two-sided mid-p value of no difference.
        low, high: the differences that the test does not reject; infinite if there are too few groups.
    """

    p: float
    low: float
    high: float


class Swaps:
    """The differences of the metrics of two classifiers after swaps of their predictions within groups.

    With few groups all swaps are enumerated, otherwise they are drawn. With more than ``MOST_EXACT`` groups,
    the difference after a swap is the sum of the contributions of the groups, each with its sign: half of
    what the swap of this group alone changes. Accuracy, sensitivity, balanced accuracy, log loss, Brier
    score, and AUROC are linear in the swaps, so that this is exact; for the others it is an approximation.
    AUROC and average precision compare ranks, so that the two classifiers need not have the same scale.

    Args:
        first, second: predictions of the same images in the same order.
        ranking: whether to compute AUROC and average precision.
        swaps: number of swaps B.
        seed: of the swaps, and of the assignment of more than 400 groups to J blocks that swap together.

    Attributes:
        first, second: the metrics of the two classifiers, B = 1.
        signs: (B, J) 1 for a group, or block, that keeps its predictions, -1 for one that swaps them.
        enumerated: whether these are all swaps, up to a swap of everything.
        true: (C, J) images of each class.
    """

    def __init__(
        self, first: Predictions, second: Predictions, *, ranking: bool = True, swaps: int, seed: int = 0
    ) -> None:
        table = _side_by_side(first, second, ranking)
        groups = first.group_count
        blocks = 1 - jackknife_weights(groups, np.random.default_rng(seed))
        self.signs, self.enumerated = sign_table(blocks.shape[1], swaps, seed)
        self.true: np.ndarray = table.true[:, :groups] @ blocks
        self._exact = groups <= MOST_EXACT
        swapped = blocks @ (self.signs.T < 0) if self._exact else blocks
        swapped = np.column_stack([np.zeros(groups), swapped])
        before = table.values(np.concatenate([1 - swapped, swapped]))
        after = table.values(np.concatenate([swapped, 1 - swapped]))
        self.first, self.second = _column(before), _column(after)
        self._gaps = Values(
            {name: after.overall[name] - row for name, row in before.overall.items()},
            {name: after.classes[name] - rows for name, rows in before.classes.items()},
        )

    def differences(self, metric: str, index: int | None, shares: np.ndarray) -> np.ndarray:
        """(B,) the difference of a metric, of a class or (None) over all, after each swap; NaN if undefined.

        ``shares``: as for ``swap_test``; the contributions' lack to the difference is divided accordingly.
        """
        gaps = self._gaps.overall[metric] if index is None else self._gaps.classes[metric][index]
        if self._exact:
            return gaps[1:]
        gains = (gaps[0] - gaps[1:]) / 2
        differences: np.ndarray = self.signs @ (gains + (gaps[0] - gains.sum()) * shares)
        return differences


def swap_test(
    difference: float, swapped: np.ndarray, swaps: Swaps, shares: np.ndarray, *, level: float
) -> SwapTest:
    """Compare a difference with those after swaps.

    Outcomes that equal the difference count half (mid-p): for accuracy with one image per group, p is
    McNemar's mid-p. The interval contains the differences that the test does not reject. A swap divides the
    groups into two halves; it bounds the interval by the lower of their two estimates, and the interval
    begins at the 5 % quantile of these bounds (Hartigan 1969).

    Args:
        difference: the observed difference.
        swapped: (B,) the differences after swaps.
        swaps: the swaps.
        shares: (J,) the fraction of the metric that depends on each group; they sum to 1.
        level: level of the interval.
    """
    size = abs(difference)
    tolerance = ROUNDING + 1e-9 * float(np.abs(swapped).max())
    larger = int((np.abs(swapped) > size + tolerance).sum())
    equal = int((np.abs(swapped) >= size - tolerance).sum()) - larger
    count = len(swapped)
    # Of drawn swaps, the one that changes nothing counts once more.
    p = (larger + equal / 2) / count if swaps.enumerated else (larger + (equal + 1) / 2) / (count + 1)
    moved = swaps.signs @ shares
    with np.errstate(divide="ignore", invalid="ignore"):
        halves = np.stack([(difference - swapped) / (1 - moved), (difference + swapped) / (1 + moved)])
    one_side = np.abs(moved) > 1 - ROUNDING  # all groups in one half
    low = np.where(one_side, -np.inf, halves.min(axis=0))
    high = np.where(one_side, np.inf, halves.max(axis=0))
    alpha = 1 - level
    bounds = np.quantile(low, alpha, method="lower"), np.quantile(high, 1 - alpha, method="higher")
    # A bound that is 0 but for rounding must not exclude 0.
    below, above = (0.0 if abs(bound) < tolerance else float(bound) for bound in bounds)
    return SwapTest(p, below, above)


@lru_cache(maxsize=8)
def sign_table(groups: int, swaps: int, seed: int) -> tuple[np.ndarray, bool]:
    """Signs (B, groups) of 1 and -1, and whether they are all there are, up to the sign of the whole."""
    if groups - 1 <= np.log2(swaps):
        bits = np.arange(2 ** (groups - 1))[:, None] >> np.arange(groups)
        return 1.0 - 2 * (bits & 1), True
    drawn = np.random.default_rng(seed).integers(0, 2, (swaps, groups), dtype=np.int8)
    return 1.0 - 2 * drawn, False


def _column(values: Values) -> Values:
    """The first weighting alone."""
    return Values(
        {name: row[:1] for name, row in values.overall.items()},
        {name: rows[:, :1] for name, rows in values.classes.items()},
    )


def _side_by_side(first: Predictions, second: Predictions, ranking: bool) -> GroupSums:
    """The sums of both predictions as those of 2 G groups: the first G are the first classifier's."""
    one, two = GroupSums(first, ranking=False), GroupSums(second, ranking=False)
    both = copy.copy(one)
    both.groups = 2 * one.groups
    both.images = np.concatenate([one.images, two.images])
    both.losses = np.concatenate([one.losses, two.losses], axis=1)
    if one.distances is not None and two.distances is not None:
        both.distances = np.concatenate([one.distances, two.distances], axis=1)
    for name in ("true", "predicted", "correct"):
        tables = [getattr(one, name), getattr(two, name)]
        setattr(both, name, sparse.csr_array(sparse.hstack(tables)))
    both.gaps = {name: _joined_bins(one.gaps[name], two.gaps[name]) for name in one.gaps}
    if ranking:
        codes = np.concatenate([first.group_codes, second.group_codes + one.groups])
        targets = np.tile(first.targets, 2)
        both.rankings = [
            Ranking.of(
                np.concatenate([stats.rankdata(each.probabilities[:, index]) for each in (first, second)]),
                targets == index,
                codes,
                both.groups,
            )
            for index in range(len(first.classes))
        ]
    return both


def _joined_bins(one: sparse.csr_array, two: sparse.csr_array) -> sparse.csr_array:
    """Two tables (bins, G) side by side; equal confidences leave one of them with fewer bins."""
    bins = max(one.shape[0], two.shape[0])
    tables = [sparse.csr_array(table, copy=True) for table in (one, two)]
    for table in tables:
        table.resize(bins, table.shape[1])
    return sparse.csr_array(sparse.hstack(tables))
