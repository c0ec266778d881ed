"""Abstention below a confidence: the loss of coverage and the gain in accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binom

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.intervals import LEVEL
from excite.evaluation.operating_point import fraction
from excite.evaluation.predictions import Predictions

STEPS = 100  # points of a curve, one per percent of coverage
SIGNIFICANCE = 0.1  # probability that the selective accuracy falls short of the requested one
TESTS = 20  # thresholds that are tested in turn


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
    """The lowest confidence whose selective accuracy on new images is shown to reach the requested one.

    With probability 0.9 over the validation images, the selective accuracy of new images is at least the
    requested one: fixed sequence testing (Angelopoulos et al. 2021, Learn then Test, arXiv 2110.01052). The
    thresholds are tested in turn, from the one that accepts just enough groups to be shown without an error
    down to the lowest, until the binomial test of "the accuracy is lower" is not significant at 0.1. A
    threshold that just reaches the accuracy on the validation images would fall short of it.

    Images of a group count together as one, with the fraction of them that is wrong; the sum is rounded up.

    Args:
        validation: predictions of the validation images.
        accuracy: requested selective accuracy, in (0, 1).

    Raises:
        ExciteError: if no threshold reaches it, with the accuracy that can be reached and the number of
            groups that it takes, or if ``accuracy`` is outside (0, 1).
    """
    if not 0 < accuracy < 1:
        raise ExciteError(f"accuracy must be in (0, 1), got {accuracy:g}", exit_code=BAD_USAGE)
    thresholds, counts, wrong = _by_threshold(validation)
    chosen = _last_significant(counts, wrong, accuracy)
    if chosen is not None:
        return float(thresholds[chosen])
    groups, needed = validation.group_count, fewest_groups(accuracy)
    what = f"{groups} validation groups do not show that any threshold reaches a selective accuracy of "
    what += f"{accuracy:.1%} on new images; it takes at least {needed}" + (
        ", accepted without an error" if groups < needed else " with fewer errors"
    )
    lower = [percent / 100 for percent in range(int(np.ceil(100 * accuracy)) - 1, 0, -1)]
    best = next((one for one in lower if _last_significant(counts, wrong, one) is not None), None)
    hint = "train with more validation images" if best is None else f"request at most {best:.0%}"
    raise ExciteError(what, hint=hint)


def fewest_groups(accuracy: float) -> int:
    """The fewest groups, accepted without an error, that show a selective accuracy.

    >>> fewest_groups(0.95), fewest_groups(0.9)
    (45, 22)
    """
    return math.ceil(math.log(SIGNIFICANCE) / math.log(accuracy))


def _by_threshold(validation: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Descending thresholds, and for each the accepted groups and the sum of their fractions of errors."""
    order = np.argsort(-validation.confidences, kind="stable")
    falling = validation.confidences[order]
    codes, wrong = validation.group_codes[order], ~validation.correct[order]
    accepted, errors = np.zeros(validation.group_count), np.zeros(validation.group_count)
    counts, sums = np.empty(len(order)), np.empty(len(order))
    groups, total = 0, 0.0
    for row, (code, error) in enumerate(zip(codes, wrong, strict=True)):
        before = errors[code] / accepted[code] if accepted[code] else 0.0
        groups += accepted[code] == 0
        accepted[code] += 1
        errors[code] += error
        total += errors[code] / accepted[code] - before
        counts[row], sums[row] = groups, total
    last = np.append(falling[1:] < falling[:-1], True)  # of equal confidences, which are accepted together
    return falling[last], counts[last], sums[last]


def _last_significant(counts: np.ndarray, wrong: np.ndarray, accuracy: float) -> int | None:
    """The position of the last threshold of the sequence that is significant; None if the first one is not.

    The sequence depends on the confidences alone, not on which predictions are correct.
    """
    fewest = fewest_groups(accuracy)
    if counts[-1] < fewest:
        return None
    wanted = np.unique(np.geomspace(fewest, counts[-1], TESTS).astype(int))
    places = np.unique(np.searchsorted(counts, wanted, side="left"))
    places[-1] = len(counts) - 1  # all images
    errors = np.ceil(wrong[places] - 1e-9)
    significant = binom.cdf(errors, counts[places], 1 - accuracy) <= SIGNIFICANCE
    first_failure = len(places) if significant.all() else int(np.argmin(significant))
    return int(places[first_failure - 1]) if first_failure else None


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
