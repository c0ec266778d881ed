"""Label candidates: labels that are probably wrong, by confident learning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from excite.evaluation.predictions import Predictions

ROUNDING = 1e-6  # a mean of equal numbers may exceed each of them by a rounding error


@dataclass(frozen=True)
class Candidate:
    """A photo whose label is probably wrong.

    Args:
        rows: rows of its images in the predictions, the lowest margin first.
        label, suggested: its label, and the suggested class.
        probability: mean probability of the label over its images.
        suggested_probability: mean probability of the suggested class.
        margin: probability of the label minus the highest of the others, from -1 to 1; the lower, the
            stronger the candidate (the normalized margin of the paper).
    """

    rows: tuple[int, ...]
    label: str
    suggested: str
    probability: float
    suggested_probability: float
    margin: float


@dataclass(frozen=True)
class LabelNoise:
    """The result of confident learning on out-of-fold predictions.

    Args:
        units: number of labels: photos, each counted once.
        thresholds: (C,) mean probability of each class over the units with that label; infinite without
            units.
        candidates: the label candidates, the strongest first.
    """

    units: int
    thresholds: np.ndarray
    candidates: tuple[Candidate, ...]


def find_label_noise(predictions: Predictions) -> LabelNoise:
    """Find label candidates in out-of-fold predictions (Northcutt et al. 2021, arXiv 1911.00068).

    The threshold of class j is its mean probability over the units with that label (their eq. 2). A unit is
    counted as j if j is the most probable class whose threshold it reaches (eq. 1). Candidates are the units
    counted as another class than their label, if the label is not their most probable class either.

    The paper also estimates the number of wrong labels from the counts (eq. 3). The estimate is left out: it
    counts every confident mistake of the classifier, and finds dozens among labels that are all right.

    Copies of one photo are one unit with their mean probabilities; otherwise a photo with many copies would
    yield many candidates and dominate the thresholds. The same photo under two labels is two units.

    Args:
        predictions: out-of-fold predictions: a model trained on a wrong label would reproduce it.
    """
    rows = _units(predictions)
    probabilities = np.stack([predictions.probabilities[unit].mean(axis=0) for unit in rows])
    labels = np.array([predictions.targets[unit[0]] for unit in rows])
    classes = probabilities.shape[1]
    thresholds = np.full(classes, np.inf)
    for label in np.unique(labels):
        thresholds[label] = probabilities[labels == label, label].mean()
    reached = probabilities >= thresholds - ROUNDING
    counted = np.where(reached, probabilities, -1.0).argmax(axis=1)
    confident = reached.any(axis=1)
    doubted = confident & (counted != labels) & (probabilities.argmax(axis=1) != labels)
    margins = _margins(probabilities, labels)
    chosen = np.flatnonzero(doubted)
    chosen = chosen[np.argsort(margins[chosen], kind="stable")]
    image_margins = _margins(predictions.probabilities, predictions.targets)
    return LabelNoise(
        len(rows),
        thresholds,
        tuple(
            Candidate(
                tuple(int(row) for row in rows[unit][np.argsort(image_margins[rows[unit]], kind="stable")]),
                predictions.classes[labels[unit]],
                predictions.classes[counted[unit]],
                float(probabilities[unit, labels[unit]]),
                float(probabilities[unit, counted[unit]]),
                float(margins[unit]),
            )
            for unit in chosen
        ),
    )


def _units(predictions: Predictions) -> list[np.ndarray]:
    """The rows of each photo under one label, in order of first occurrence."""
    codes = predictions.photo_codes
    _, first = np.unique(codes, return_index=True)
    by_unit = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    return [by_unit[unit] for unit in np.argsort(first)]


def _margins(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) probability of the label minus the highest of the others."""
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -1.0
    return probabilities[rows, labels] - others.max(axis=1)
