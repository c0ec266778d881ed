"""A threshold for a wished sensitivity or specificity: chosen on validation, measured on test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.intervals import LEVEL, Interval, grouped_wilson
from excite.evaluation.predictions import Predictions


@dataclass(frozen=True)
class OperatingPoint:
    """An image is called ``label`` when its probability is at least ``threshold``.

    Args:
        label: the class, against all others.
        threshold: between 0 and 1, or just above 1 when no image may be called so.
        wished, level: ``sensitivity`` or ``specificity``, and how much of it.
        sensitivity, specificity: on the images that it was chosen with; flattering, as it was chosen there.
        n, groups: those images and their groups.
    """

    label: str
    threshold: float
    wished: str
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
    """The threshold that reaches the wish on validation images and gives away least of the other.

    For a sensitivity it is the highest that still finds enough images of the class; for a specificity the
    lowest that spares enough of the others, half-way to the next probability.

    Raises:
        ExciteError: not exactly one wish, a wish outside 0 to 1, an unknown class, or no images of the class
            or of the others.
    """
    wishes = [("sensitivity", sensitivity), ("specificity", specificity)]
    given = [(name, level) for name, level in wishes if level is not None]
    if len(given) != 1:
        raise ExciteError("an operating point needs a sensitivity or a specificity", exit_code=BAD_USAGE)
    wished, level = given[0]
    if not 0 < level <= 1:
        raise ExciteError(f"{wished} {level:g} is not above 0 and up to 1", exit_code=BAD_USAGE)
    index = validation.class_index(label)
    scores, positive = validation.probabilities[:, index], validation.targets == index
    if positive.all() or not positive.any():
        side = "others than" if positive.all() else "images of"
        raise ExciteError(f"validation has no {side} {label!r} to choose a threshold with")
    if wished == "sensitivity":
        falling = np.sort(scores[positive])[::-1]
        threshold = float(falling[_enough(level, len(falling)) - 1])
    else:
        rising = np.sort(scores[~positive])
        spared = rising[_enough(level, len(rising)) - 1]
        higher = scores[scores > spared]
        threshold = float((spared + higher.min()) / 2 if len(higher) else np.nextafter(spared, 2))
        if threshold <= spared:  # half-way between neighboring numbers is the lower one
            threshold = float(np.nextafter(spared, 2))
    called = scores >= threshold
    return OperatingPoint(
        label,
        threshold,
        wished,
        level,
        float(called[positive].mean()),
        float((~called[~positive]).mean()),
        len(validation),
        validation.group_count,
    )


def at_threshold(test: Predictions, label: str, threshold: float, *, level: float = LEVEL) -> dict[str, Any]:
    """What calling images ``label`` from a probability of ``threshold`` up gives on a test set.

    Returns:
        ``n``, ``groups``, ``threshold``, ``label``; counts ``tp``, ``fp``, ``fn``, ``tn``; ``sensitivity``,
        ``specificity``, ``ppv``, ``npv``, ``accuracy`` as ``{"value", "low", "high", "method"}``. The
        intervals take the threshold as given.

    Raises:
        ExciteError: for an unknown class.
    """
    index = test.class_index(label)
    positive = test.targets == index
    called = test.probabilities[:, index] >= threshold
    cells = {
        "tp": called & positive,
        "fp": called & ~positive,
        "fn": ~called & positive,
        "tn": ~called & ~positive,
    }
    counts = {name: int(mask.sum()) for name, mask in cells.items()}
    right = called == positive
    codes = test.group_codes
    everyone = np.ones(len(test), dtype=bool)
    figures = {
        "sensitivity": share(right, positive, codes, "no image is of this class", level),
        "specificity": share(right, ~positive, codes, "every image is of this class", level),
        "ppv": share(right, called, codes, "no image reaches the threshold", level),
        "npv": share(right, ~called, codes, "every image reaches the threshold", level),
        "accuracy": share(right, everyone, codes, "", level),
    }
    head = {"n": len(test), "groups": test.group_count, "label": label, "threshold": threshold}
    return head | counts | figures


def share(
    right: np.ndarray, among: np.ndarray, codes: np.ndarray, reason: str, level: float = LEVEL
) -> dict[str, Any]:
    """How many of the images of a mask (N,) are right, with Wilson's interval over groups.

    Args:
        why: what to say when the mask is empty.
    """
    if not among.any():
        return {"value": None, "reason": reason}
    totals = np.bincount(codes, among)
    interval: Interval = grouped_wilson(np.bincount(codes, among & right), totals, level=level)
    bounds = {"low": interval.low, "high": interval.high}
    source = {"reason": interval.reason} if interval.reason else {"method": interval.method}
    return {"value": float(right[among].mean()), **bounds, **source}


def _enough(level: float, images: int) -> int:
    """The smallest count that is at least this share; rounding must not ask for one more than 0.9 of 10."""
    return max(1, int(np.ceil(round(level * images, 9))))
