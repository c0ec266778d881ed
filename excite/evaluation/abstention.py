"""Abstention below a confidence: the loss of coverage and the gain in accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.intervals import LEVEL
from excite.evaluation.operating_point import fraction
from excite.evaluation.predictions import Predictions

STEPS = 100  # points of a curve, one per percent of coverage


@dataclass(frozen=True)
class CoveragePoint:
    """Coverage and selective accuracy at a threshold.

    Args:
        threshold: lowest confidence at which the classifier does not abstain.
        coverage: fraction of images for which it does not abstain.
        answered: their number.
        accuracy, low, high: selective accuracy with its interval; None if there is none.
    """

    threshold: float
    coverage: float
    answered: int
    accuracy: float
    low: float | None
    high: float | None


def accuracy_by_coverage(predictions: Predictions, *, level: float = LEVEL) -> tuple[CoveragePoint, ...]:
    """Selective accuracy at coverages from 100 % down to 1 %.

    Images of equal confidence are accepted together, so the coverage of a point may be higher.
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
    """The lowest threshold with the requested selective accuracy on the validation images.

    Args:
        validation: predictions of the validation images.
        accuracy: requested selective accuracy, in (0, 1].

    Raises:
        ExciteError: if no threshold reaches it, or ``accuracy`` is outside (0, 1].
    """
    if not 0 < accuracy <= 1:
        raise ExciteError(f"accuracy must be in (0, 1], got {accuracy:g}", exit_code=BAD_USAGE)
    order = np.argsort(-validation.confidences, kind="stable")
    falling = validation.confidences[order]
    accuracies = np.cumsum(validation.correct[order]) / np.arange(1, len(order) + 1)
    last = np.append(falling[1:] < falling[:-1], True)  # of equal confidences, which are accepted together
    reached = np.flatnonzero(last & (accuracies >= accuracy - 1e-12))
    if len(reached) == 0:
        best = float(accuracies[last].max())
        what = f"no threshold reaches a selective accuracy of {accuracy:.1%} on the validation images"
        raise ExciteError(what, hint=f"request at most {best:.1%}")
    return float(falling[reached[-1]])


def with_abstention(predictions: Predictions, threshold: float, *, level: float = LEVEL) -> dict[str, Any]:
    """Coverage and selective accuracy if the classifier abstains below a confidence.

    Returns:
        ``n``, ``groups``, ``threshold``, ``answered``; ``coverage`` (answered of all) and ``accuracy``
        (correct of answered) as ``{"value", "low", "high", "method"}``.
    """
    accepted = predictions.confidences >= threshold
    everyone = np.ones(len(predictions), dtype=bool)
    codes = predictions.group_codes
    return {
        "n": len(predictions),
        "groups": predictions.group_count,
        "threshold": threshold,
        "answered": int(accepted.sum()),
        "coverage": fraction(accepted, everyone, codes, "", level),
        "accuracy": fraction(predictions.correct, accepted, codes, "no image reaches this confidence", level),
    }
