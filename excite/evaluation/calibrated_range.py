"""The calibration error that is expected of a calibrated classifier, by consistency resampling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from excite.evaluation.bins import bin_of, equal_mass, equal_width
from excite.evaluation.effective_sample_size import effective_groups
from excite.evaluation.intervals import LEVEL
from excite.evaluation.metrics import BINS
from excite.evaluation.predictions import Predictions

DRAWS = 1000
CLASSWISE_DRAWS = 500
MATCHING_DRAWS = 30  # per correlation, to match that of the data
CORRELATIONS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97)  # of the latent normals of a group
UPPER = 0.5 + LEVEL / 2
MOST_NUMBERS = 2_000_000  # drawn at a time

Outcomes = Callable[[np.ndarray], np.ndarray]
"""Latent normals (D, N) to residuals (D, N, K): predicted probability minus outcome, of K events."""


@dataclass(frozen=True)
class ClasswiseRange:
    """Ranges expected of a calibrated classifier.

    Args:
        mean: bounds for the mean of the calibration errors of the classes.
        classes: (C, 2) bounds for each class.
    """

    mean: tuple[float, float]
    classes: np.ndarray


def calibrated_range(
    predictions: Predictions,
    *,
    equal: str = "ece",
    bins: int = BINS,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """The range of the calibration error expected of a calibrated classifier, which chance keeps above 0.

    Consistency resampling (Bröcker & Smith 2007): each draw samples for every image whether it is correct,
    with its confidence as the probability. The images of a group are right and wrong together: the samples
    have a Gaussian copula with one factor for each group (Li 2000), whose correlation is chosen so that the
    residuals within groups, after subtraction of the mean of their bin, are as correlated as in the data, and
    more so for few groups, by the square of Student's quantile over the normal one.
    Without groups, the samples are independent.

    Args:
        equal: ``ece`` for bins of equal width, ``ece_equal_mass`` for bins with equally many images.
        draws: number of draws.
    """
    confidences = predictions.confidences
    edges = equal_mass(confidences, bins) if equal == "ece_equal_mass" else equal_width(bins)
    place = bin_of(confidences, edges)
    limits = ndtri(confidences)

    def residuals(normals: np.ndarray) -> np.ndarray:
        return (confidences - (normals < limits))[..., None]

    observed = (confidences - (predictions.most_probable == predictions.targets))[:, None]
    generator = np.random.default_rng(seed)
    correlation = _match(observed, place[:, None], predictions.group_codes, residuals, generator)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    errors = [
        np.abs(np.add.reduceat(residuals(normals)[:, order, 0], starts, axis=1)).sum(axis=1) / len(order)
        for normals in _normals(predictions.group_codes, correlation, draws, generator)
    ]
    low, high = np.quantile(np.concatenate(errors), _tails(level))
    return float(low), float(high)


def classwise_range(
    predictions: Predictions,
    *,
    bins: int = BINS,
    level: float = LEVEL,
    draws: int = CLASSWISE_DRAWS,
    seed: int = 0,
) -> ClasswiseRange:
    """The range of the calibration error of each class, and of their mean, for a calibrated classifier.

    As ``calibrated_range``, but each draw samples the label of every image from its probabilities.
    """
    images, classes = predictions.probabilities.shape
    place = bin_of(predictions.probabilities, equal_width(bins)) + bins * np.arange(classes)
    # Images in order of one line: the class of a uniform number is where it falls in the cumulated row.
    edges = predictions.probabilities.cumsum(axis=1)[:, :-1] + np.arange(images)[:, None]
    expected = np.bincount(place.ravel(), predictions.probabilities.ravel(), bins * classes)

    def labels(normals: np.ndarray) -> np.ndarray:
        line = ndtr(normals) * (1 - 1e-12) + np.arange(images)
        found = np.searchsorted(edges.ravel(), line, side="right") - (classes - 1) * np.arange(images)
        return np.asarray(found.clip(0, classes - 1))

    def residuals(normals: np.ndarray) -> np.ndarray:
        return predictions.probabilities - (labels(normals)[..., None] == np.arange(classes))

    observed = predictions.probabilities - (predictions.targets[:, None] == np.arange(classes))
    generator = np.random.default_rng(seed)
    correlation = _match(observed, place, predictions.group_codes, residuals, generator)
    errors = np.empty((draws, classes))
    row = 0
    for normals in _normals(predictions.group_codes, correlation, draws, generator):
        for drawn in labels(normals):
            counts = np.bincount(place[np.arange(images), drawn], minlength=bins * classes)
            errors[row] = np.abs(expected - counts).reshape(classes, bins).sum(axis=1) / images
            row += 1
    low, high = np.quantile(errors.mean(axis=1), _tails(level))
    return ClasswiseRange((float(low), float(high)), np.quantile(errors, _tails(level), axis=0).T)


def _tails(level: float) -> list[float]:
    return [0.5 - level / 2, 0.5 + level / 2]


def _normals(
    codes: np.ndarray, correlation: float, draws: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Blocks (D, N) of standard normals that have this correlation within groups."""
    images, groups = len(codes), int(codes.max()) + 1
    block = max(1, MOST_NUMBERS // images)
    for start in range(0, draws, block):
        count = min(block, draws - start)
        own = generator.normal(size=(count, images))
        if correlation == 0:
            yield own
        else:
            shared = generator.normal(size=(count, groups))[:, codes]
            yield np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own


def _match(
    observed: np.ndarray,
    place: np.ndarray,
    codes: np.ndarray,
    residuals: Outcomes,
    generator: np.random.Generator,
) -> float:
    """The correlation of the latent normals with which residuals are as correlated as those observed.

    Args:
        observed: (N, K) residuals.
        place: (N, K) number of the bin of each.
        codes: (N,) group of each image.
        residuals: their samples for latent normals.
    """
    if int(codes.max()) + 1 == len(codes):
        return 0.0
    images = len(observed)
    target = _within_groups(observed, place, codes)
    freedom = max(effective_groups(np.bincount(codes)) - 1, 1.0)
    widening = float(stdtrit(freedom, UPPER) / ndtri(UPPER)) ** 2  # the variance between groups is estimated
    target = (1 + target) * widening - 1
    own = generator.normal(size=(MATCHING_DRAWS, images))
    shared = generator.normal(size=(MATCHING_DRAWS, int(codes.max()) + 1))[:, codes]
    dependences = []
    for correlation in CORRELATIONS:
        normals = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
        samples = (residuals(one[None])[0] for one in normals)
        dependences.append(np.mean([_within_groups(one, place, codes) for one in samples]))
        if dependences[-1] > target:
            break
    rising = np.maximum.accumulate(dependences)
    return float(np.interp(target, rising, CORRELATIONS[: len(rising)]))


def _within_groups(residuals: np.ndarray, place: np.ndarray, codes: np.ndarray) -> float:
    """The sum of products of residuals of the same group over their sum of squares, after centering bins."""
    flat = place.ravel()
    sizes = np.bincount(flat).clip(1)
    centered = residuals - (np.bincount(flat, residuals.ravel()) / sizes)[place]
    columns = residuals.shape[1]
    cells = (codes[:, None] * columns + np.arange(columns)).ravel()
    squares = float((centered**2).sum())
    return float((np.bincount(cells, centered.ravel()) ** 2).sum()) / squares - 1 if squares > 0 else 0.0
