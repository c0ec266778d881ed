"""Answering "not sure" below a confidence: what that costs in coverage and gains in accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.intervals import LEVEL
from excite.evaluation.operating_point import share
from excite.evaluation.predictions import Predictions

ABSTAINED = -1
STEPS = 100  # points of a curve: a percent each


@dataclass(frozen=True)
class CoveragePoint:
    """What answering only from a confidence of ``threshold`` up gives.

    Args:
        threshold: the least confidence that is answered.
        coverage: share of images that are answered.
        answered: their number.
        accuracy, low, high: of the answered images, with the interval; None where there is none.
    """

    threshold: float
    coverage: float
    answered: int
    accuracy: float
    low: float | None
    high: float | None


def accuracy_by_coverage(predictions: Predictions, *, level: float = LEVEL) -> tuple[CoveragePoint, ...]:
    """Accuracy of the surest images, from all of them down to 1 %, at the thresholds that answer so many.

    Images of one confidence are answered together, so a coverage may be missed, never undershot.
    """
    falling = np.sort(predictions.confidences)[::-1]
    wanted = np.ceil(np.arange(STEPS, 0, -1) / STEPS * len(falling)).astype(int)
    points = []
    for threshold in np.unique(falling[wanted - 1]):
        figures = with_abstention(predictions, float(threshold), level=level)
        accuracy = figures["accuracy"]
        points.append(
            CoveragePoint(
                float(threshold),
                figures["coverage"]["value"],
                figures["answered"],
                accuracy["value"],
                accuracy["low"],
                accuracy["high"],
            )
        )
    return tuple(points)


def choose_confidence(validation: Predictions, accuracy: float) -> float:
    """The least confidence at which the answered validation images are right so often.

    Raises:
        ExciteError: if no confidence reaches it, or the wish is not above 0 and up to 1.
    """
    if not 0 < accuracy <= 1:
        raise ExciteError(f"accuracy {accuracy:g} is not above 0 and up to 1", exit_code=BAD_USAGE)
    order = np.argsort(-validation.confidences, kind="stable")
    falling = validation.confidences[order]
    shares = np.cumsum(validation.correct[order]) / np.arange(1, len(order) + 1)
    last = np.append(falling[1:] < falling[:-1], True)  # of its confidence: equals are answered together
    reached = np.flatnonzero(last & (shares >= accuracy - 1e-12))
    if len(reached) == 0:
        best = float(shares[last].max())
        what = f"no confidence makes {accuracy:.1%} of the validation images' answers right"
        raise ExciteError(what, hint=f"the best is {best:.1%}")
    return float(falling[reached[-1]])


def with_abstention(predictions: Predictions, threshold: float, *, level: float = LEVEL) -> dict[str, Any]:
    """Coverage and accuracy when images below a confidence are answered "not sure".

    Returns:
        ``n``, ``groups``, ``threshold``, ``answered``; ``coverage`` (answered of all) and ``accuracy`` (right
        of answered) as ``{"value", "low", "high", "method"}``.
    """
    sure = predictions.confidences >= threshold
    everyone = np.ones(len(predictions), dtype=bool)
    codes = predictions.group_codes
    return {
        "n": len(predictions),
        "groups": predictions.group_count,
        "threshold": threshold,
        "answered": int(sure.sum()),
        "coverage": share(sure, everyone, codes, "", level),
        "accuracy": share(predictions.correct, sure, codes, "no image reaches this confidence", level),
    }


def answers(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """(N,) class indices, ``ABSTAINED`` where no probability of the row (N, C) reaches the threshold."""
    return np.where(probabilities.max(axis=1) >= threshold, probabilities.argmax(axis=1), ABSTAINED)
