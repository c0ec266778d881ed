"""Metrics under many reweightings of the groups: a bootstrap resample is one column of weights.

A group drawn twice counts twice. So a resample is a vector of weights instead of a copy of the predictions,
and the sums of all resamples are one product of a sparse matrix (sums per group) with the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from excite.evaluation.bins import bin_of, equal_mass, equal_width
from excite.evaluation.effective_sample_size import effective_groups
from excite.evaluation.metrics import (
    BINS,
    Sums,
    brier_terms,
    mean_of_defined,
    metrics_over_classes,
    metrics_per_class,
    negative_log_likelihoods,
)
from excite.evaluation.ordinal import ordinal_terms
from excite.evaluation.predictions import Predictions
from excite.evaluation.ranking import Ranking, count_table

BLOCK = 320_000  # weights per product: 2.5 MB, which fits a core's cache (three times faster)
JACKKNIFE = 400  # more groups are left out in blocks; the error of the acceleration is about 0.001


@dataclass(frozen=True, eq=False)
class Values:
    """Metrics under B weightings: overall name -> (B,), and per class name -> (C, B)."""

    overall: dict[str, np.ndarray]
    classes: dict[str, np.ndarray]

    def of(self, name: str, index: int | None) -> np.ndarray:
        """(B,) a metric over all classes (None), or of one class."""
        return self.overall[name] if index is None else self.classes[name][index]


class GroupSums:
    """Sums per group from which all metrics are computed.

    Args:
        predictions: N images in G groups.
        ranking: whether to compute AUROC and average precision, which take as long for each class as all
            other metrics together.
        bins: number of bins of the calibration errors.
    """

    def __init__(self, predictions: Predictions, *, ranking: bool = True, bins: int = BINS) -> None:
        codes, groups = predictions.group_codes, predictions.group_count
        classes = len(predictions.classes)
        targets, predicted, correct = predictions.targets, predictions.predicted, predictions.correct
        self.groups = groups
        self.images = np.bincount(codes, minlength=groups).astype(np.float64)
        self.true = count_table(targets, codes, classes, groups)
        self.predicted = count_table(predicted, codes, classes, groups)
        self.correct = count_table(targets[correct], codes[correct], classes, groups)
        sums = [
            negative_log_likelihoods(predictions.probabilities, targets),
            brier_terms(predictions.probabilities, targets),
        ]
        self.losses = np.stack([np.bincount(codes, values, groups) for values in sums])
        self.ranks = predictions.ranks
        self.distances = None
        if self.ranks is not None:
            terms = ordinal_terms(self.ranks, targets, predicted)
            self.distances = np.stack([np.bincount(codes, values, groups) for values in terms])
        off = predictions.confidences - (predictions.most_probable == targets)
        edges = {
            "ece": equal_width(bins),
            "ece_equal_mass": equal_mass(predictions.confidences, bins),
        }
        self.gaps = {
            name: _sum_table(bin_of(predictions.confidences, at), codes, off, (len(at) - 1, groups))
            for name, at in edges.items()
        }
        scores = predictions.probabilities.T
        self.rankings = [
            Ranking.of(scores[c], targets == c, codes, groups) for c in range(classes if ranking else 0)
        ]

    def values(self, weights: np.ndarray) -> Values:
        """All metrics under each column of weights (G, B)."""
        true = self.true @ weights
        images = self.images @ weights
        nll, brier = self.losses @ weights
        gaps = {name: table @ weights for name, table in self.gaps.items()}
        distances = None if self.distances is None else self.distances @ weights
        predicted, correct = self.predicted @ weights, self.correct @ weights
        sums = Sums(images, true, predicted, correct, nll, brier, gaps, self.ranks, distances)
        whole, classes = metrics_over_classes(sums), metrics_per_class(sums)
        if self.rankings:
            areas = [
                ranking.areas(weights, images - t) for ranking, t in zip(self.rankings, true, strict=True)
            ]
            classes["auroc"], classes["average_precision"] = (
                np.stack(rows) for rows in zip(*areas, strict=True)
            )
            for name in ("auroc", "average_precision"):
                whole[name] = mean_of_defined(classes[name])
        return Values(whole, classes)

    @property
    def effective_groups(self) -> float:
        """Effective number of groups (Kish 1965)."""
        return effective_groups(self.images)

    def of_class(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(G,) images of a class, images predicted as it, and both, in each group."""
        true, predicted, correct = (counts[index] for counts in self._counts)
        return true, predicted, correct

    @cached_property
    def _counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.true.toarray(), self.predicted.toarray(), self.correct.toarray()

    @property
    def class_images(self) -> np.ndarray:
        """(C, G) images of each class in each group."""
        return self._counts[0]

    def groups_beside(self, index: int) -> int:
        """The smaller number of groups: with images of a class, or with images of other classes."""
        true = self._counts[0][index]
        return int(min((true > 0).sum(), (true < self.images).sum()))

    def point(self) -> Values:
        """The metrics without reweighting, B = 1."""
        return self.values(np.ones((self.groups, 1)))


def resample_weights(groups: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """(G, B) number of times that each group is drawn in G draws with replacement.

    The draws equal those of ``scipy.stats.bootstrap`` with the same generator.
    """
    drawn = generator.integers(0, groups, (resamples, groups))
    drawn *= resamples
    drawn += np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=groups * resamples)
    return counts.reshape(groups, resamples).astype(np.float64)


def jackknife_weights(groups: int, generator: np.random.Generator) -> np.ndarray:
    """(G, J) weights with one group, or one random block of many groups, left out in each column."""
    columns = min(groups, JACKKNIFE)
    weights = np.ones((groups, columns))
    weights[generator.permutation(groups), np.arange(groups) % columns] = 0
    return weights


def bootstrap(tables: Sequence[GroupSums], resamples: int, seed: int) -> list[Values]:
    """The metrics of each table in the same resamples; all tables must have the same groups."""
    generator = np.random.default_rng(seed)
    groups = tables[0].groups
    size = _block(tables)
    blocks = (
        resample_weights(groups, min(size, resamples - start), generator)
        for start in range(0, resamples, size)
    )
    return _all_values(tables, blocks)


def jackknife(tables: Sequence[GroupSums], seed: int) -> list[Values]:
    """The metrics of each table with one group, or one block of groups, left out."""
    weights = jackknife_weights(tables[0].groups, np.random.default_rng(seed))
    size = _block(tables)
    blocks = (weights[:, start : start + size] for start in range(0, weights.shape[1], size))
    return _all_values(tables, blocks)


def left_out_images(table: GroupSums, seed: int) -> np.ndarray:
    """(C, J) images of each class in the groups that each column of ``jackknife`` leaves out."""
    weights = jackknife_weights(table.groups, np.random.default_rng(seed))
    images: np.ndarray = table.true @ (1 - weights)
    return images


def _block(tables: Sequence[GroupSums]) -> int:
    return max(16, BLOCK // int(max(table.images.sum() for table in tables)))


def _all_values(tables: Sequence[GroupSums], blocks: Iterator[np.ndarray]) -> list[Values]:
    parts: list[list[Values]] = [[] for _ in tables]
    for weights in blocks:
        contiguous = np.ascontiguousarray(weights)
        for table, found in zip(tables, parts, strict=True):
            found.append(table.values(contiguous))
    return [
        Values(
            {name: np.concatenate([part.overall[name] for part in found]) for name in found[0].overall},
            {
                name: np.concatenate([part.classes[name] for part in found], axis=1)
                for name in found[0].classes
            },
        )
        for found in parts
    ]


def _sum_table(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]
) -> sparse.csr_array:
    return sparse.coo_array((values, (rows, columns)), shape=shape).tocsr()
