"""The jackknife's intervals against Wilson's, DeLong's variance, and the ranges of metrics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from excite.evaluation.intervals import wilson
from excite.evaluation.jackknife_interval import jackknife_interval
from excite.evaluation.placements import Placements
from excite.evaluation.resampling import GroupSums, jackknife
from tests.evaluation.simulated import simulate


def test_the_jackknife_interval_of_a_proportion_is_wilsons() -> None:
    right = (np.arange(200) < 150).astype(float)
    left = (right.sum() - right) / 199
    got = jackknife_interval("f1", 0.75, left, np.ones((1, 200)))
    variance = 0.75 * 0.25 / 200 * (200 / 199) ** 2
    n = 0.75 * 0.25 / variance
    expected = wilson(0.75 * n, n, quantile=float(stats.t.ppf(0.975, 202)))
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_few_groups_with_all_of_the_variance_widen_the_interval() -> None:
    # All variance is that of 6 groups of the second class: 5 degrees of freedom, and 3 more for counts.
    left = 0.5 + 0.001 * np.r_[np.zeros(94), np.resize([1, -1], 6)]
    true = np.stack([np.r_[np.ones(94), np.zeros(6)], np.r_[np.zeros(94), np.ones(6)]])
    n = 0.25 / (6 * 0.001**2)
    expected = wilson(n / 2, n, quantile=float(stats.t.ppf(0.975, 8)))
    got = jackknife_interval("f1", 0.5, left, true)
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("size", [1, 4])
def test_the_jackknife_variance_of_an_area_is_delongs_and_obuchowskis(size: int) -> None:
    one = simulate(np.random.default_rng(0), 300, size=size, alike=1.0)
    left = jackknife([GroupSums(one)], 0)[0].overall["auroc"]
    parts = Placements.of(one.probabilities[:, [1]].T, one.targets == 1, one.group_codes).covariances()
    assert ((left - left.mean()) ** 2).sum() == pytest.approx(sum(parts)[0, 0], rel=0.03)


def test_bounds_stay_within_the_range_of_the_metric() -> None:
    for name, value, lowest, highest in (
        ("mcc", -0.99, -1, 1),
        ("kappa", 0.99, -1, 1),
        ("f1", 0.99, 0, 1),
    ):
        left = value + np.resize([0.01, -0.01], 40)
        got = jackknife_interval(name, value, left, np.ones((1, 40)))
        assert got.method == "jackknife"
        assert lowest <= (got.low or 0) < value < (got.high or 0) <= highest
