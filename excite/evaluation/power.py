"""Power analysis by simulation: the detectable difference, and the number of trainings needed to detect one.

Studies are simulated from observed or assumed variances: the error of the mean and the half width of its
interval. A study detects a difference d if |d + error| exceeds the half width.
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
"""Conventional probability of detecting a true difference."""
MOST_TRAININGS = 1000


@dataclass(frozen=True, eq=False)
class Simulated:
    """B simulated studies: (B,) errors of the mean and half widths of the interval."""

    errors: np.ndarray
    halves: np.ndarray

    def power(self, difference: float) -> float:
        """The probability of detecting a true difference."""
        return float((np.abs(difference + self.errors) > self.halves).mean())

    def smallest(self, power: float = POWER) -> float:
        """The smallest difference that is detected with this power."""
        low, high = 0.0, 1e-12 + 2 * float(np.quantile(np.abs(self.errors) + self.halves, 0.999))
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if self.power(middle) >= power else (middle, high)
        return high


def largest_difference(metric: str) -> float:
    """The largest possible difference of two values of a metric."""
    if metric in ("mcc", "kappa"):
        return 2.0
    return math.inf if metric == "log_loss" else 1.0


def corrected_studies(
    deviation: float, count: int, ratio: float, *, alpha: float, draws: int = DRAWS, seed: int = 0
) -> Simulated:
    """Studies of ``count`` trainings on overlapping images, tested by the corrected resampled t.

    Args:
        deviation: standard deviation of the differences of single trainings.
        count: number of trainings.
        ratio: test images over training images.
        alpha: two-sided level of the test.
        draws: number of simulated studies.
    """
    random = np.random.default_rng(seed)
    inflation = np.sqrt(1 / count + ratio)
    spread = deviation * np.sqrt(random.chisquare(count - 1, draws) / (count - 1))
    errors = deviation * inflation * random.standard_normal(draws)
    return Simulated(errors, float(stdtrit(count - 1, 1 - alpha / 2)) * inflation * spread)


def crossed_studies(
    observed: MeanSquares,
    trainings: int,
    *,
    groups: int | None = None,
    overlap: float = 0.0,
    alpha: float,
    draws: int = DRAWS,
    seed: int = 0,
) -> Simulated:
    """Studies of trainings on the same images, tested by ``crossed_mean``.

    Args:
        observed: mean squares of a study, which determine the variance components.
        trainings: number of trainings.
        groups: number of groups; None: as in ``observed``.
        overlap: as for ``crossed_mean``.
        alpha: two-sided level of the test.
        draws: number of simulated studies.
    """
    random = np.random.default_rng(seed)
    columns = groups or observed.columns
    of_trainings = max(observed.trainings - observed.rest, 0) / observed.columns
    of_groups = max(observed.groups - observed.rest, 0) / observed.rows
    freedoms = trainings - 1, columns - 1, (trainings - 1) * (columns - 1)
    expected = columns * of_trainings + observed.rest, trainings * of_groups + observed.rest, observed.rest
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
    true = of_trainings / trainings + of_groups / columns + observed.rest / (trainings * columns)
    errors = np.sqrt((1 + overlap) * true) * random.standard_normal(draws)
    return Simulated(errors, stdtrit(degrees, 1 - alpha / 2) * np.sqrt((1 + overlap) * variance))


def trainings_needed(
    difference: float, studies: Callable[[int], Simulated], at_least: int, power: float = POWER
) -> int | None:
    """The number of trainings that detects a difference with this power; None: no number does.

    Args:
        difference: the true difference.
        studies: simulates studies with a number of trainings.
        at_least: smallest number to consider.
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
