"""How large a difference so many trainings could show, and how many would show a given one; by simulation.

What a study will see is drawn thousands of times from the spread that was seen, or is stated: the error of
its mean and the half width of its interval. A difference d is shown
where |d + error| is above the half width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from excite.evaluation.mrmc import MeanSquares

DRAWS = 20_000
POWER = 0.8
"""How often a difference is to be shown that is there; the habit of the field."""
MOST_TRAININGS = 1000


@dataclass(frozen=True, eq=False)
class Simulated:
    """Studies that were drawn: (B,) errors of the mean and half widths of the interval."""

    errors: np.ndarray
    halves: np.ndarray

    def power(self, difference: float) -> float:
        """How often a true difference would be shown."""
        return float((np.abs(difference + self.errors) > self.halves).mean())

    def smallest(self, power: float = POWER) -> float:
        """The smallest difference that is shown so often."""
        low, high = 0.0, 1e-12 + 2 * float(np.quantile(np.abs(self.errors) + self.halves, 0.999))
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if self.power(middle) >= power else (middle, high)
        return high


def largest_difference(metric: str) -> float:
    """How far two values of a metric can lie apart."""
    if metric in ("mcc", "kappa"):
        return 2.0
    return math.inf if metric == "log_loss" else 1.0


def corrected_studies(
    deviation: float, count: int, ratio: float, *, alpha: float, draws: int = DRAWS, seed: int = 0
) -> Simulated:
    """Studies of ``count`` trainings on overlapping images, tested by the corrected resampled t.

    Args:
        deviation: of the differences of single trainings.
        ratio: test images over training images.
        alpha: two-sided level of the test.
    """
    random = np.random.default_rng(seed)
    inflation = np.sqrt(1 / count + ratio)
    spread = deviation * np.sqrt(random.chisquare(count - 1, draws) / (count - 1))
    errors = deviation * inflation * random.standard_normal(draws)
    return Simulated(errors, float(stdtrit(count - 1, 1 - alpha / 2)) * inflation * spread)


def crossed_studies(
    seen: MeanSquares,
    trainings: int,
    *,
    groups: int | None = None,
    overlap: float = 0.0,
    alpha: float,
    draws: int = DRAWS,
    seed: int = 0,
) -> Simulated:
    """Studies of so many trainings on the same images, tested as ``crossed_mean`` does.

    Args:
        seen: mean squares of a study; its components of variance are drawn from.
        groups: how many groups; None: as many as were seen.
        overlap: as for ``crossed_mean``.
    """
    random = np.random.default_rng(seed)
    columns = groups or seen.columns
    of_trainings = max(seen.trainings - seen.rest, 0) / seen.columns
    of_groups = max(seen.groups - seen.rest, 0) / seen.rows
    freedoms = trainings - 1, columns - 1, (trainings - 1) * (columns - 1)
    expected = columns * of_trainings + seen.rest, trainings * of_groups + seen.rest, seen.rest
    drawn = [
        mean * random.chisquare(freedom, draws) / freedom
        for mean, freedom in zip(expected, freedoms, strict=True)
    ]
    beyond = np.maximum(drawn[1] - drawn[2], 0)
    variance = (drawn[0] + beyond) / (trainings * columns)
    parts = drawn[0] ** 2 / freedoms[0]
    parts += np.where(beyond > 0, drawn[1] ** 2 / freedoms[1] + drawn[2] ** 2 / freedoms[2], 0)
    degrees = np.divide(
        (drawn[0] + beyond) ** 2, parts, out=np.full(draws, float(freedoms[0])), where=parts > 0
    )
    degrees = np.maximum(degrees - 2, freedoms[0])
    true = of_trainings / trainings + of_groups / columns + seen.rest / (trainings * columns)
    errors = np.sqrt((1 + overlap) * true) * random.standard_normal(draws)
    return Simulated(errors, stdtrit(degrees, 1 - alpha / 2) * np.sqrt((1 + overlap) * variance))


def trainings_needed(
    difference: float, studies: Callable[[int], Simulated], at_least: int, power: float = POWER
) -> int | None:
    """How many trainings, ``at_least`` or more, show a difference so often; None: no number does.

    Args:
        studies: from a number of trainings to what such studies would see.
    """

    def enough(count: int) -> bool:
        return studies(count).power(abs(difference)) >= power

    low, high = at_least - 1, at_least
    while not enough(high):
        if high >= MOST_TRAININGS:
            return None
        low, high = high, min(2 * high, MOST_TRAININGS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
