"""A threshold for a required sensitivity or specificity: chosen on validation, evaluated on test images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.intervals import LEVEL, Interval, grouped_wilson
from excite.evaluation.predictions import Predictions


@dataclass(frozen=True)
class OperatingPoint:
    """An image is classified as ``label`` if its probability is at least ``threshold``.

    Args:
        label: the positive class.
        threshold: between 0 and 1, or just above 1 if no image may be positive.
        criterion, level: ``sensitivity`` or ``specificity``, and its required value.
        sensitivity, specificity: on the validation images; optimistic, as the threshold was chosen there.
        n, groups: validation images and their groups.
    """

    label: str
    threshold: float
    criterion: str
    level: float
    sensitivity: float
    specificity: float
    n: int
    groups: int


def choose_threshold(
    validation: Predictions,
    label: str,
    *,
    sensitivity: float | None = None,
    specificity: float | None = None,
) -> OperatingPoint:
    """The threshold that reaches the criterion on validation images at the least cost of the other one.

    For a sensitivity, it is the highest threshold that still detects enough positive images; for a
    specificity, the lowest that rejects enough negative images, half-way to the next probability.

    Args:
        validation: predictions of the validation images.
        label: the positive class.
        sensitivity, specificity: the criterion; exactly one of them, in (0, 1].

    Raises:
        ExciteError: for none or two criteria, a value outside (0, 1], an unknown class, or validation images
            without a positive or without a negative one.
    """
    criteria = [("sensitivity", sensitivity), ("specificity", specificity)]
    chosen = [(name, level) for name, level in criteria if level is not None]
    if len(chosen) != 1:
        raise ExciteError(
            "an operating point needs either a sensitivity or a specificity", exit_code=BAD_USAGE
        )
    criterion, level = chosen[0]
    if not 0 < level <= 1:
        raise ExciteError(f"{criterion} must be in (0, 1], got {level:g}", exit_code=BAD_USAGE)
    index = validation.class_index(label)
    scores, positive = validation.probabilities[:, index], validation.targets == index
    if positive.all() or not positive.any():
        side = "all" if positive.all() else "none"
        what = f"{side} of the validation images belong to {label!r}, so no threshold can be chosen"
        raise ExciteError(what)
    if criterion == "sensitivity":
        falling = np.sort(scores[positive])[::-1]
        threshold = float(falling[_enough(level, len(falling)) - 1])
    else:
        rising = np.sort(scores[~positive])
        rejected = rising[_enough(level, len(rising)) - 1]
        higher = scores[scores > rejected]
        threshold = float((rejected + higher.min()) / 2 if len(higher) else np.nextafter(rejected, 2))
        if threshold <= rejected:  # rounding: the middle of two neighboring floats is the lower one
            threshold = float(np.nextafter(rejected, 2))
    predicted = scores >= threshold
    return OperatingPoint(
        label,
        threshold,
        criterion,
        level,
        float(predicted[positive].mean()),
        float((~predicted[~positive]).mean()),
        len(validation),
        validation.group_count,
    )


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
    bounds = {"low": interval.low, "high": interval.high}
    source = {"reason": interval.reason} if interval.reason else {"method": interval.method}
    return {"value": float(right[among].mean()), **bounds, **source}


def _enough(level: float, images: int) -> int:
    """The smallest count that reaches a fraction of the images; without rounding errors, 0.9 of 10 is 9."""
    return max(1, int(np.ceil(round(level * images, 9))))
