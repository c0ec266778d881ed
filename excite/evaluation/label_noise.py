"""Which labels are likely wrong: candidates for a person's eye, by confident learning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from excite.evaluation.predictions import Predictions

ROUNDING = 1e-6  # a mean of equal numbers may come out a little above each of them


@dataclass(frozen=True)
class Candidate:
    """A photo whose label is perhaps another class's.

    Args:
        rows: its images among the predictions, the least like their label first.
        label, suggested: the class that it has, and the one that it is counted among.
        probability: of its label, the mean over its images.
        suggested_probability: of the suggested class likewise.
        margin: probability of the label less the highest of the others, from -1 to 1; the lower, the
            stronger the doubt (the paper's normalized margin).
    """

    rows: tuple[int, ...]
    label: str
    suggested: str
    probability: float
    suggested_probability: float
    margin: float


@dataclass(frozen=True)
class LabelNoise:
    """What confident learning finds in out-of-fold predictions.

    Args:
        units: how many labels were judged: photos, each counted once.
        thresholds: (C,) each class's mean probability where it is the label; not finite where none has it.
        joint: (C, C) how many units with the label of the row are, by the estimate, of the column's class.
        candidates: those to look at, the strongest doubt first.
    """

    units: int
    thresholds: np.ndarray
    joint: np.ndarray
    candidates: tuple[Candidate, ...]

    @property
    def estimated(self) -> float:
        """How many labels the joint counts as wrong, among all units."""
        return float(self.joint.sum() - self.joint.trace())


def find_label_noise(predictions: Predictions) -> LabelNoise:
    """Labels that models which had not seen the images doubt (Northcutt et al. 2021, arXiv 1911.00068).

    The threshold of class j is its mean probability over the units with that label (their eq. 2). A unit is
    counted as j if j is the likeliest of the classes whose threshold it reaches (eq. 1); candidates are
    those counted as another class than their label which is not their likeliest class either. The counts,
    scaled to the number of labels of each class, are the estimated joint of labels and truth (eq. 3).

    Copies of one photo are one unit, of their mean probabilities: otherwise a photo with many copies would
    be many candidates, and weigh more in the thresholds. The same photo under two labels is two units.

    Args:
        predictions: out of fold: a model that was trained on a wrong label has learned it.
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
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[confident], counted[confident]), 1)
    doubted = confident & (counted != labels) & (probabilities.argmax(axis=1) != labels)
    margins = _margins(probabilities, labels)
    chosen = np.flatnonzero(doubted)
    chosen = chosen[np.argsort(margins[chosen], kind="stable")]
    image_margins = _margins(predictions.probabilities, predictions.targets)
    return LabelNoise(
        len(rows),
        thresholds,
        _scaled(joint, labels),
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
    """The rows of each photo under one label, in the order in which the photos come."""
    codes = predictions.photo_codes
    _, first = np.unique(codes, return_index=True)
    by_unit = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    return [by_unit[unit] for unit in np.argsort(first)]


def _margins(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) the label's probability less the highest of the others."""
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -1.0
    return probabilities[rows, labels] - others.max(axis=1)


def _scaled(joint: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The counts (C, C) with as many in each row as there are such labels."""
    totals = np.bincount(labels, minlength=len(joint))
    # Of a class that is never counted with confidence, all labels are taken for right.
    np.fill_diagonal(joint, np.where(totals > 0, np.maximum(joint.diagonal(), 1), 0))
    return joint * (totals / np.maximum(joint.sum(axis=1), 1))[:, None]
