"""Thresholds of several labels, chosen on validation images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from excite.errors import ExciteError, unknown_name
from excite.evaluation.label_predictions import HALF, LabelPredictions
from excite.evaluation.operating_point import choose_threshold
from excite.evaluation.predictions import Predictions

F1, FIXED = "f1", "half"
RULES = (F1, FIXED)


@dataclass(frozen=True)
class LabelThreshold:
    """A label is predicted if its probability is at least ``threshold``.

    Args:
        label: its name.
        threshold: between 0 and 1, or just above 1 if no image may have the label.
        criterion: ``f1`` (the highest on the validation images), ``half`` (0.5), ``sensitivity``, or
            ``specificity``.
        level: the required sensitivity or specificity; None for another criterion.
        guaranteed: its expected value for images of new groups is at least this; None likewise.
        reached: whether ``guaranteed`` is at least ``level``; None likewise.
    """

    label: str
    threshold: float
    criterion: str
    level: float | None = None
    guaranteed: float | None = None
    reached: bool | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelThreshold:
        """Of ``to_dict``'s result."""
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)


def choose_label_thresholds(
    validation: LabelPredictions,
    *,
    rule: str = F1,
    sensitivity: float | None = None,
    specificity: float | None = None,
) -> tuple[LabelThreshold, ...]:
    """The threshold of each label.

    Calibrated probabilities of a rare label seldom reach 0.5, so by default the threshold is the one with the
    highest F1 on the validation images (for the best classifier half of that F1; Lipton et al. 2014). A
    sensitivity or specificity is chosen as ``choose_threshold`` does.

    Args:
        validation: calibrated without the fold of each image.
        rule: ``f1`` or ``half``; without effect if one of the next two is given.
        sensitivity, specificity: required of every label; at most one of them.

    Raises:
        ExciteError: for an unknown rule, and for a required sensitivity or specificity of a label that none
            or all of the validation images have.
    """
    if rule not in RULES:
        raise unknown_name("rule", rule, RULES)
    chosen = []
    for index, name in enumerate(validation.classes):
        if sensitivity is None and specificity is None:
            threshold = HALF if rule == FIXED else _highest_f1(validation.of_label(index))
            chosen.append(LabelThreshold(name, threshold, rule))
            continue
        point = choose_threshold(
            validation.of_label(index), name, sensitivity=sensitivity, specificity=specificity
        )
        chosen.append(
            LabelThreshold(
                name, point.threshold, point.criterion, point.level, point.guaranteed, point.reached
            )
        )
    return tuple(chosen)


def _highest_f1(label: Predictions) -> float:
    """The middle between the lowest probability that is predicted and the next lower one; 0.5 without any."""
    from sklearn.metrics import precision_recall_curve  # late: prediction imports this file, too

    if not label.targets.any():
        return HALF
    scores = label.probabilities[:, 1]
    precision, recall, thresholds = precision_recall_curve(label.targets, scores)
    with np.errstate(invalid="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))[:-1]
    lowest = float(thresholds[f1.argmax()])
    below = scores[scores < lowest]
    middle = (lowest + float(below.max())) / 2 if len(below) else lowest
    return middle if middle > (float(below.max()) if len(below) else -1.0) else lowest


def require_thresholds(thresholds: tuple[LabelThreshold, ...], labels: tuple[str, ...]) -> None:
    """Raises: ExciteError if there is not one threshold for each label, in order."""
    if tuple(each.label for each in thresholds) != labels:
        raise ExciteError("the thresholds are not those of the labels")
