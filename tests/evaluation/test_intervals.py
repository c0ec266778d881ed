"""Intervals of proportions and of the bootstrap against statsmodels and SciPy, and their coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from excite.errors import ExciteError
from excite.evaluation.intervals import bootstrap_interval, grouped_wilson, wilson
from excite.evaluation.jackknife_interval import jackknife_interval
from excite.evaluation.measure import measure
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums, bootstrap, jackknife
from tests.evaluation.simulated import simulate
from tests.evaluation.true_values import OF_GROUPS, OF_IMAGES, truth


@pytest.mark.parametrize("n", [1, 2, 17, 200, 5000])
def test_wilson_is_statsmodels(n: int) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion", reason="statsmodels is not installed")
    for successes in {0, 1, n // 3, n - 1, n}:
        for level in (0.9, 0.95):
            expected = proportion.proportion_confint(successes, n, alpha=1 - level, method="wilson")
            got = wilson(successes, n, level=level)
            assert (got.low, got.high) == pytest.approx(expected, abs=1e-9)


def test_wilson_is_scipys() -> None:
    expected = stats.binomtest(42, 60).proportion_ci(method="wilson")
    got = grouped_wilson((np.arange(60) < 42).astype(float), np.ones(60))
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_equal_images_of_a_group_count_as_one() -> None:
    right = (np.arange(80) < 60).astype(float)
    tenfold = grouped_wilson(right * 10, np.full(80, 10.0))
    once = wilson(60, 80, quantile=float(stats.t.ppf(0.975, 79)))
    assert tenfold.low == pytest.approx(once.low, abs=0.002)  # the variance has 79 in place of 80
    assert tenfold.high == pytest.approx(once.high, abs=0.002)
    perfect = grouped_wilson(np.full(80, 10.0), np.full(80, 10.0))
    assert perfect.low == pytest.approx(wilson(80, 80, quantile=float(stats.t.ppf(0.975, 79))).low)
    assert perfect.high == 1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["percentile", "BCa"])
@pytest.mark.parametrize("metric", ["log_loss", "auroc"])
def test_bootstrap_is_scipys_on_the_same_resamples(method: str, metric: str) -> None:
    predictions = simulate(np.random.default_rng(0), 90)
    rows = np.arange(90)

    def figure(index: np.ndarray, axis: int = -1) -> Any:
        def one(some: np.ndarray) -> float:
            some = some.astype(int)
            if metric == "auroc":
                return roc_auc_score(predictions.targets[some], predictions.probabilities[some, 1])
            return float(-np.log(predictions.probabilities[some, predictions.targets[some]]).mean())

        return np.apply_along_axis(one, axis, index)

    expected = stats.bootstrap(
        (rows,), figure, n_resamples=400, method=method, rng=np.random.default_rng(7), vectorized=True
    )
    table = GroupSums(predictions)
    resampled, left_out = bootstrap([table], 400, seed=7)[0], jackknife([table], seed=0)[0]
    assert np.allclose(
        np.sort(resampled.overall[metric]), np.sort(expected.bootstrap_distribution), rtol=0, atol=1e-9
    )
    value = float(table.point().overall[metric][0])
    got = bootstrap_interval(
        value, resampled.overall[metric], left_out.overall[metric], method=method.lower()
    )
    assert got.low == pytest.approx(expected.confidence_interval.low, abs=1e-9)
    assert got.high == pytest.approx(expected.confidence_interval.high, abs=1e-9)


def test_a_missing_interval_has_a_reason() -> None:
    draws = np.linspace(0, 1, 100)
    few = bootstrap_interval(0.5, draws, draws, groups=9)
    assert few.low is None
    assert few.reason == "9 groups are too few; at least 10 are needed"
    rare = bootstrap_interval(0.5, np.where(draws < 0.2, np.nan, draws), draws)
    assert rare.reason == "undefined in too many resamples: a class has too few images"
    for value, left, reason in (
        (0.5, np.where(draws == 0, np.nan, draws), "undefined without one of the groups"),
        (0.9, np.full(100, 0.9), "the estimate does not vary"),
        (1.0, draws, "the value is at the end of its range"),
    ):
        got = jackknife_interval("mcc", 2 * value - 1, 2 * left - 1, np.ones((1, 100)))
        assert (got.reason or "").startswith(reason)
    same = bootstrap_interval(1.0, np.ones(100), draws)
    assert same.reason == "the estimate does not vary between resamples"
    assert grouped_wilson(np.array([3.0]), np.array([5.0])).reason == "all images belong to one group"
    assert wilson(0, 0).reason == "there are no images"
    with pytest.raises(ExciteError, match=r"unknown interval 'bcs' .*bca"):
        bootstrap_interval(0.5, draws, draws, method="bcs")


def test_a_perfect_result_still_has_a_lower_bound_for_its_accuracy() -> None:
    targets = np.arange(60) % 2
    result = measure(Predictions(targets, np.eye(2)[targets], ("a", "b")), resamples=100)
    assert result["accuracy"]["low"] == pytest.approx(0.9398, abs=1e-4)  # 60 of 60 by Wilson
    assert result["accuracy"]["high"] == 1
    assert result["mcc"]["low"] is None


# What 95 % means. benchmarks/intervals.py has the full table; these are the same simulations, fewer of them.


@pytest.mark.slow
@pytest.mark.parametrize("settings", [OF_IMAGES, OF_GROUPS], ids=["200 images", "60 groups"])
def test_wilsons_intervals_of_accuracy_have_95_percent_coverage(settings: dict[str, Any]) -> None:
    known = truth(settings, ("accuracy",))["accuracy"]
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(2000):
        one = simulate(random, **settings)
        right = np.bincount(one.group_codes, one.correct)
        interval = grouped_wilson(right, np.bincount(one.group_codes).astype(float))
        inside += (interval.low or 0) <= known <= (interval.high or 0)
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)
