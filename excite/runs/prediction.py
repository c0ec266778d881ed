"""The prediction of a classifier for one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Disagreement:
    """Disagreement between the members of an ensemble on one image.

    Args:
        members: how many members there are.
        disagreeing: how many of them predict another class than the ensemble.
        low, high: the lowest and the highest probability of the ensemble's class among the members.
    """

    members: int
    disagreeing: int
    low: float
    high: float


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Args:
        path: of the image file; empty for an image from memory.
        label: the predicted class: the most probable one, or with an operating point the positive class from
            its threshold up, and else the most probable other class.
        probability: its calibrated probability.
        probabilities: class name -> calibrated probability.
        abstained: whether the highest probability is below the classifier's ``abstain_below``; None if it
            has none.
        classes_in_set: the prediction set, the most probable class first; None if none was requested.
        disagreement: between the members of an ensemble; None for a single network.
    """

    path: str
    label: str
    probability: float
    probabilities: Mapping[str, float]
    abstained: bool | None = None
    classes_in_set: tuple[str, ...] | None = None
    disagreement: Disagreement | None = None
