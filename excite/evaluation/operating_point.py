"""A threshold for a required sensitivity or specificity: chosen on validation, evaluated on test images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.decision_rule import DecisionRule
from excite.evaluation.group_quantile import ROUNDING, groups_needed, lower_quantile
from excite.evaluation.intervals import LEVEL, Interval, grouped_wilson
from excite.evaluation.predictions import Predictions


@dataclass(frozen=True)
class OperatingPoint:
    """An image is classified as ``label`` if its probability is at least ``threshold``.

    Args:
        label: the positive class.
        threshold: between 0 and 1, or just above 1 if no image may be positive.
        criterion, level: ``sensitivity`` or ``specificity``, and its required value.
        guaranteed: the expected value of the criterion for images of new groups is at least this.
        reached: whether it is at least ``level``; if not, there are too few ``criterion_groups``.
        criterion_groups: validation groups with positive images, or for a specificity with negative ones.
        groups_needed: the fewest of them that can guarantee ``level``; None: no number can.
        sensitivity, specificity: on the validation images; optimistic, as the threshold was chosen there.
        n, groups: validation images and their groups.
    """

    label: str
    threshold: float
    criterion: str
    level: float
    guaranteed: float
    reached: bool
    criterion_groups: int
    groups_needed: int | None
    sensitivity: float
    specificity: float
    n: int
    groups: int

    @property
    def rule(self) -> DecisionRule:
        """The rule that predicts ``label`` from the threshold up."""
        return DecisionRule(self.label, self.threshold)


def choose_threshold(
    validation: Predictions,
    label: str,
    *,
    sensitivity: float | None = None,
    specificity: float | None = None,
) -> OperatingPoint:
    """The threshold whose criterion is expected to be reached on new images, at the least cost of the other.

    A threshold that just reaches a sensitivity on the validation images falls short of it on new ones, as it
    was chosen there. So it is an order statistic, as in ``group_quantile.lower_quantile``: for a sensitivity
    and n independent positive images, the probability that is the ⌈sensitivity (n + 1)⌉-th from above; for a
    specificity, above the ⌈specificity (n + 1)⌉-th negative image from below, half-way to the next
    probability. Images of a group count together as one. With too few groups for the level, the threshold
    detects every positive (or rejects every negative) validation image.

    Args:
        validation: predictions of the validation images.
        label: the positive class.
        sensitivity, specificity: the criterion; exactly one of them, in (0, 1].

    Raises:
        ExciteError: for none or two criteria, a value outside (0, 1], an unknown class, or validation images
            without a positive or without a negative one.
    """
    criterion, level = _criterion(sensitivity, specificity)
    index = validation.class_index(label)
    scores, positive = validation.probabilities[:, index], validation.targets == index
    if positive.all() or not positive.any():
        side = "all" if positive.all() else "none"
        what = f"{side} of the validation images belong to {label!r}, so no threshold can be chosen"
        raise ExciteError(what)
    deciding = positive if criterion == "sensitivity" else ~positive
    codes = validation.group_codes[deciding]
    if criterion == "sensitivity":
        threshold, guaranteed = lower_quantile(scores[deciding], codes, level)
    else:
        negated, guaranteed = lower_quantile(-scores[deciding], codes, level)
        threshold = _above(-negated, scores)
    predicted = scores >= threshold
    return OperatingPoint(
        label,
        threshold,
        criterion,
        level,
        guaranteed,
        guaranteed >= level - ROUNDING,
        len(np.unique(codes)),
        groups_needed(level),
        float(predicted[positive].mean()),
        float((~predicted[~positive]).mean()),
        len(validation),
        validation.group_count,
    )


def _criterion(sensitivity: float | None, specificity: float | None) -> tuple[str, float]:
    """The name and the value of the criterion that is given. Raises: ExciteError as ``choose_threshold``."""
    criteria = [("sensitivity", sensitivity), ("specificity", specificity)]
    chosen = [(name, level) for name, level in criteria if level is not None]
    if len(chosen) != 1:
        raise ExciteError(
            "an operating point needs either a sensitivity or a specificity", exit_code=BAD_USAGE
        )
    criterion, level = chosen[0]
    if not 0 < level <= 1:
        raise ExciteError(f"{criterion} must be in (0, 1], got {level:g}", exit_code=BAD_USAGE)
    return criterion, level


def _above(rejected: float, scores: np.ndarray) -> float:
    """A threshold above a score, half-way to the next higher one."""
    higher = scores[scores > rejected]
    threshold = float((rejected + higher.min()) / 2 if len(higher) else np.nextafter(rejected, 2))
    if threshold <= rejected:  # rounding: the middle of two neighboring floats is the lower one
        threshold = float(np.nextafter(rejected, 2))
    return threshold


def at_threshold(test: Predictions, label: str, threshold: float, *, level: float = LEVEL) -> dict[str, Any]:
    """The metrics of a threshold on a test set.

    Returns:
        ``n``, ``groups``, ``threshold``, ``label``; counts ``tp``, ``fp``, ``fn``, ``tn``; ``sensitivity``,
        ``specificity``, ``ppv``, ``npv``, ``accuracy`` as ``{"value", "low", "high", "method"}``. The
        intervals treat the threshold as fixed.

    Raises:
        ExciteError: for an unknown class.
    """
    index = test.class_index(label)
    positive = test.targets == index
    predicted = test.probabilities[:, index] >= threshold
    cells = {
        "tp": predicted & positive,
        "fp": predicted & ~positive,
        "fn": ~predicted & positive,
        "tn": ~predicted & ~positive,
    }
    counts = {name: int(mask.sum()) for name, mask in cells.items()}
    right = predicted == positive
    codes = test.group_codes
    everyone = np.ones(len(test), dtype=bool)
    figures = {
        "sensitivity": fraction(right, positive, codes, "no image belongs to this class", level),
        "specificity": fraction(right, ~positive, codes, "every image belongs to this class", level),
        "ppv": fraction(right, predicted, codes, "no image reaches the threshold", level),
        "npv": fraction(right, ~predicted, codes, "every image reaches the threshold", level),
        "accuracy": fraction(right, everyone, codes, "", level),
    }
    head = {"n": len(test), "groups": test.group_count, "label": label, "threshold": threshold}
    return head | counts | figures


def fraction(
    right: np.ndarray, among: np.ndarray, codes: np.ndarray, reason: str, level: float = LEVEL
) -> dict[str, Any]:
    """The fraction of correct images within a mask (N,), with Wilson's interval over groups.

    Args:
        right: (N,) whether each image is correct.
        among: (N,) mask of the images that count.
        codes: (N,) group of each image.
        reason: why there is no value if the mask is empty.
    """
    if not among.any():
        return {"value": None, "reason": reason}
    totals = np.bincount(codes, among)
    interval: Interval = grouped_wilson(np.bincount(codes, among & right), totals, level=level)
    return {"value": float(right[among].mean()), **interval.to_dict()}
