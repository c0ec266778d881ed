"""Intervals of means over classes and of losses, against formulas by hand and simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from excite.evaluation.intervals import Interval
from excite.evaluation.mean_intervals import hall_inverse, mean_loss_interval, mean_of_intervals


def test_the_mean_of_independent_intervals_adds_their_squares() -> None:
    intervals = [Interval(0.5, 0.9, "wilson"), Interval(0.7, 0.95, "wilson")]
    apart = np.array([[1.0, -1, 0, 0], [0, 0, 1, -1]])
    found = mean_of_intervals([0.8, 0.9], intervals, apart)
    assert found.low == pytest.approx(0.85 - np.hypot(0.3, 0.2) / 2)
    assert found.high == pytest.approx(0.85 + np.hypot(0.1, 0.05) / 2)
    together = mean_of_intervals([0.8, 0.9], intervals, np.tile([1.0, -1, 2, 0], (2, 1)))
    assert together.low == pytest.approx(0.85 - (0.3 + 0.2) / 2)
    assert mean_of_intervals([0.8, 0.9], [Interval(reason="x"), intervals[1]], apart).reason == "x"


@pytest.mark.parametrize("skewness", [-0.5, 0.0, 1e-12, 0.3])
def test_halls_inverse_undoes_his_transformation(skewness: float) -> None:
    for quantile in (-2.0, 0.3, 2.0):
        t, s = hall_inverse(quantile, skewness), skewness
        assert t + s * t**2 / 3 + s**2 * t**3 / 27 + s / 6 == pytest.approx(quantile, abs=1e-9)


def test_a_loss_without_skewness_has_students_interval() -> None:
    losses = stats.norm(1.0, 0.2).ppf((np.arange(400) + 0.5) / 400)
    left = (losses.sum() - losses) / 399
    found = mean_loss_interval(losses.mean(), left, 399, highest=36)
    expected = stats.ttest_1samp(losses, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-3)


def test_the_interval_of_a_skewed_loss_has_coverage_where_students_is_too_low() -> None:
    random = np.random.default_rng(0)
    halls = students = 0
    runs, images = 1500, 100
    for _ in range(runs):
        losses = random.lognormal(0, 1.2, images)
        left = (losses.sum() - losses) / (images - 1)
        found = mean_loss_interval(losses.mean(), left, images - 1, highest=1e9)
        plain = stats.t.interval(0.95, images - 1, losses.mean(), stats.sem(losses))
        truth = np.exp(1.2**2 / 2)
        halls += (found.low or 0) <= truth <= (found.high or 0)
        students += plain[0] <= truth <= plain[1]
    assert halls / runs > 0.92
    assert students / runs < 0.91
