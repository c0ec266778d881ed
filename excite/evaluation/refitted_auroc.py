"""How well features tell classes apart: a linear classifier in grouped folds, its AUROC with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, stats
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from excite.errors import ExciteError
from excite.evaluation.intervals import LEVEL, Interval
from excite.evaluation.mean_intervals import mean_of_intervals
from excite.evaluation.ranking_interval import RankingIntervals

FOLDS = 5
SHUFFLES = 199  # the smallest p is 1 / 200


@dataclass(frozen=True)
class Auroc:
    """The AUROC of held-out images; of more than two classes, the mean of each class against the rest.

    Args:
        value: 0.5 is chance.
        interval: by group.
        corrected: the interval at a level for several tests together (Bonferroni).
        shuffled: the mean with shuffled labels.
        p: one-sided p-value against shuffled labels.
        images, groups: behind it.
    """

    value: float
    interval: Interval
    corrected: Interval
    shuffled: float
    p: float
    images: int
    groups: int

    def to_dict(self) -> dict[str, Any]:
        """``value``, ``low``, ``high``, ``method`` or ``reason``, ``shuffled``, ``p``."""
        return {"value": self.value, **self.interval.to_dict(), "shuffled": self.shuffled, "p": self.p}


class GroupedFolds:
    """Images of several classes in groups, divided into folds once for all features.

    Args:
        targets: (N,) class of each image.
        groups: (N,) group of each image.
        seed: of the division and of the shuffled labels.

    Raises:
        ExciteError: if fewer than two classes have two groups each.

    Example:
        >>> random = np.random.default_rng(0)
        >>> targets = np.repeat([0, 1], 100)
        >>> folds = GroupedFolds(targets, np.arange(200))
        >>> folds.auroc(targets[:, None] + random.normal(size=(200, 3))).value > 0.6
        True
    """

    def __init__(self, targets: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> None:
        self.targets = np.unique(targets, return_inverse=True)[1]
        self.codes = np.unique(groups, return_inverse=True)[1]
        self.classes = int(self.targets.max(initial=-1)) + 1
        of_class = [len(np.unique(self.codes[self.targets == k])) for k in range(self.classes)]
        if self.classes < 2 or min(of_class) < 2:
            what = "each of at least two classes needs two groups, so that one can be held out"
            raise ExciteError(what, hint="add images")
        self.folds = np.empty(len(self.targets), dtype=np.int64)
        splitter = StratifiedGroupKFold(min(FOLDS, *of_class), shuffle=True, random_state=seed)
        empty = np.zeros(len(self.targets))
        for number, (_, held_out) in enumerate(splitter.split(empty, self.targets, self.codes)):
            self.folds[held_out] = number
        self.shuffled = self._shuffled_labels(np.random.default_rng(seed))

    def auroc(self, features: np.ndarray, *, tests: int = 1) -> Auroc:
        """The AUROC of a ridge classifier on standardized features.

        The penalty is the number of features, the same for all features of one kind, so that nothing is
        chosen on the images that measure it. Scores are replaced by their ranks within the fold: scores of
        different folds come from different fits, which without signal gives a pooled AUROC below 0.5
        (Parker, Günter & Bedo 2007).

        The interval is that of ``RankingIntervals`` with a larger variance. Each pair of images in different
        folds counts twice, once with either image in the training set, so that without signal a
        cross-validated AUROC varies more than its scores tell (benchmarks/shortcut_simulations.py). The
        excess is taken from shuffled labels, and fades as the square of 4 A (1 - A).

        Args:
            features: (N, F); columns that do not vary have no effect.
            tests: how many tests ``corrected`` accounts for.
        """
        labels = np.concatenate([self.targets[None], self.shuffled])
        ranks = self._held_out_ranks(features, labels)
        shuffled = np.array([_areas(r, y, self.classes) for r, y in zip(ranks[1:], labels[1:], strict=True)])
        area = _areas(ranks[0], self.targets, self.classes)
        excess = self._excess(ranks[1:], shuffled)
        interval, corrected = (
            _interval(ranks[0], self.targets, self.codes, excess, level)
            for level in (LEVEL, 1 - (1 - LEVEL) / tests)
        )
        p = (1 + int((shuffled >= area).sum())) / (1 + len(shuffled))
        groups = int(self.codes.max()) + 1
        return Auroc(float(area), interval, corrected, float(shuffled.mean()), p, len(self.targets), groups)

    def _excess(self, ranks: np.ndarray, areas: np.ndarray) -> float:
        """The variance of AUROCs with shuffled labels over what their scores tell, at least 1."""
        some = slice(0, 20)  # the expected variance hardly differs between shuffles
        expected = [
            _squared_error(r, y, self.codes) for r, y in zip(ranks[some], self.shuffled[some], strict=True)
        ]
        return max(float(((areas - 0.5) ** 2).mean()) / max(float(np.mean(expected)), 1e-12), 1.0)

    def _shuffled_labels(self, generator: np.random.Generator) -> np.ndarray:
        """(SHUFFLES, N) labels shuffled between groups of one fold, so that folds stay stratified.

        A unit, the images of one group with one label, is shuffled as a whole.
        """
        units = np.unique(np.stack([self.codes, self.targets]), axis=1, return_inverse=True)[1].ravel()
        labels, folds = np.zeros((2, units.max() + 1), dtype=np.int64)
        labels[units], folds[units] = self.targets, self.folds
        result = np.empty((SHUFFLES, len(units)), dtype=np.int64)
        for row in result:
            drawn = labels.copy()
            for fold in np.unique(folds):
                drawn[folds == fold] = generator.permutation(labels[folds == fold])
            row[:] = drawn[units]
        return result

    def _held_out_ranks(self, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(P, N, C) ranks of held-out images within their folds, for P labelings (P, N)."""
        values = features.astype(np.float64)
        scale = values.std(axis=0)
        varied = scale > 1e-9 * np.abs(values).max(initial=0)
        table = (values[:, varied] - values[:, varied].mean(axis=0)) / scale[varied]
        wanted = np.moveaxis(labels[..., None] == np.arange(self.classes), 0, 1).astype(np.float64)
        ranks = np.full(wanted.shape, 0.5)
        if not table.shape[1]:
            return np.moveaxis(ranks, 1, 0)
        with threadpool_limits(limits=1):
            kernel = table @ table.T / table.shape[1]
            for fold in range(int(self.folds.max()) + 1):
                inside, outside = self.folds != fold, self.folds == fold
                known = wanted[inside].reshape(inside.sum(), -1)
                system = kernel[np.ix_(inside, inside)] + np.eye(inside.sum())
                weights = linalg.solve(system, known - known.mean(axis=0), assume_a="pos")
                scores = kernel[np.ix_(outside, inside)] @ weights
                found = (stats.rankdata(scores, axis=0) - 0.5) / outside.sum()
                ranks[outside] = found.reshape(outside.sum(), *wanted.shape[1:])
        return np.moveaxis(ranks, 1, 0)


def _areas(ranks: np.ndarray, targets: np.ndarray, classes: int) -> float:
    """The AUROC of ranks (N, C), of more than two classes the mean of each against the rest."""
    areas = []
    for label in range(classes) if classes > 2 else [1]:
        positive = targets == label
        m, n = int(positive.sum()), int((~positive).sum())
        total = stats.rankdata(ranks[:, label])[positive].sum()
        areas.append((total - m * (m + 1) / 2) / (m * n))
    return float(np.mean(areas))


def _rankings(ranks: np.ndarray, targets: np.ndarray, codes: np.ndarray) -> list[RankingIntervals]:
    labels = range(ranks.shape[1]) if ranks.shape[1] > 2 else [1]
    return [RankingIntervals(ranks[:, label], targets == label, codes) for label in labels]


def _influences(rankings: list[RankingIntervals]) -> np.ndarray:
    """(K, G) the contribution of each group to the deviation of each AUROC."""
    rows = []
    for ranking in rankings:
        found = ranking.placements
        area = float(found.areas[0])
        sides = ((found.positives, found.positive_codes), (found.negatives, found.negative_codes))
        rows.append(
            sum(np.bincount(own, side[0] - area, found.groups) / side.shape[1] for side, own in sides)
        )
    return np.stack(rows)


def _squared_error(ranks: np.ndarray, targets: np.ndarray, codes: np.ndarray) -> float:
    """The squared standard error of the AUROC that the scores tell: a quarter of the interval, squared."""
    interval = _interval(ranks, targets, codes, 1.0, LEVEL)
    if interval.low is None or interval.high is None:
        return 0.0
    return ((interval.high - interval.low) / (2 * stats.norm.ppf(0.5 + LEVEL / 2))) ** 2


def _interval(
    ranks: np.ndarray, targets: np.ndarray, codes: np.ndarray, excess: float, level: float
) -> Interval:
    rankings = _rankings(ranks, targets, codes)
    intervals = [ranking.auroc(level, excess=excess) for ranking in rankings]
    if len(rankings) == 1:
        return intervals[0]
    areas = [float(ranking.placements.areas[0]) for ranking in rankings]
    return mean_of_intervals(areas, intervals, _influences(rankings))
