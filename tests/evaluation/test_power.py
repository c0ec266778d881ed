"""Power against the noncentral t, and simulated studies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from excite.evaluation.measure import measure
from excite.evaluation.mrmc import MeanSquares, crossed_mean
from excite.evaluation.power import (
    Simulated,
    corrected_studies,
    crossed_studies,
    largest_difference,
    trainings_needed,
)
from excite.evaluation.predictions import Predictions
from tests.evaluation.simulated_studies import simulated


def test_power_of_the_corrected_t_is_the_noncentral_ts() -> None:
    deviation, count, ratio = 0.02, 6, 0.25
    studies = corrected_studies(deviation, count, ratio, alpha=0.05)
    for difference in (0.0, 0.02, 0.04):
        center = difference / (deviation * np.sqrt(1 / count + ratio))
        bound = stats.t.ppf(0.975, count - 1)
        expected = stats.nct.sf(bound, count - 1, center) + stats.nct.cdf(-bound, count - 1, center)
        assert studies.power(difference) == pytest.approx(expected, abs=0.01)
    assert studies.power(studies.smallest()) == pytest.approx(0.8, abs=0.001)


def test_crossed_studies_have_their_level_and_more_seeds_more_power() -> None:
    seen = MeanSquares(trainings=0.4, groups=0.5, rest=0.1, rows=5, columns=100)
    studies = crossed_studies(seen, 5, alpha=0.05)
    assert studies.power(0.0) == pytest.approx(0.05, abs=0.01)
    assert crossed_studies(seen, 20, alpha=0.05).smallest() < studies.smallest()
    assert crossed_studies(seen, 5, groups=1000, alpha=0.05).smallest() < studies.smallest()


def test_the_trainings_needed_are_the_fewest_that_suffice() -> None:
    def studies(count: int) -> object:
        return corrected_studies(0.02, count, 0.0, alpha=0.05)

    needed = trainings_needed(0.01, studies, 3)  # type: ignore[arg-type]
    assert needed is not None
    assert studies(needed).power(0.01) >= 0.8 > studies(needed - 1).power(0.01)  # type: ignore[attr-defined]
    assert needed == pytest.approx(34, abs=1)  # a one-sample t test: (1.96 + 0.84)² · 4, and a little for t
    # Where test sets overlap, the variance has a floor that no number of trainings gets below.
    assert trainings_needed(0.01, lambda n: corrected_studies(0.02, n, 0.25, alpha=0.05), 3) is None


def test_a_planted_difference_is_significant_with_the_stated_power() -> None:
    """Within 3 points, of a power that is stated from the spread of other studies of the same kind."""
    random = np.random.default_rng(1)
    seen = [crossed_mean(simulated(random, 0.4)) for _ in range(1000)]
    names = ("trainings", "groups", "rest")
    spread = [float(np.mean([getattr(one.squares, name) for one in seen])) for name in names]
    true = float(np.mean([one.mean for one in seen]))
    stated = crossed_studies(MeanSquares(*spread, 5, 200), 5, alpha=0.05).power(true)  # type: ignore[call-arg]
    assert 0.5 < stated < 0.9
    shown = np.mean([crossed_mean(simulated(random, 0.4)).p < 0.05 for _ in range(2000)])
    assert shown == pytest.approx(stated, abs=0.03)


@pytest.mark.parametrize(
    ("metric", "largest"), [("accuracy", 1), ("mcc", 2), ("kappa", 2), ("log_loss", math.inf)]
)
def test_the_largest_difference_is_the_length_of_the_metrics_range(metric: str, largest: float) -> None:
    assert largest_difference(metric) == largest
    right, wrong = (Predictions(np.array([0, 1]), rows, ("a", "b")) for rows in (np.eye(2), 1 - np.eye(2)))
    best, worst = (measure(one, intervals=False)[metric]["value"] for one in (right, wrong))
    assert abs(best - worst) == largest or largest == math.inf


def test_the_smallest_difference_is_where_a_normal_test_has_its_power() -> None:
    """With a known standard error, the difference detected with power 0.8 is (1.96 + 0.84) errors."""
    errors = np.random.default_rng(0).normal(size=200_000)
    studies = Simulated(errors, np.full(200_000, stats.norm.ppf(0.975)))
    for power in (0.5, 0.8, 0.95):
        expected = stats.norm.ppf(0.975) + stats.norm.ppf(power)
        assert studies.smallest(power) == pytest.approx(expected, abs=0.015)
