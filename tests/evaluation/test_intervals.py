"""Intervals against statsmodels and scipy, and against what 95 % means: 95 of 100 hold the truth."""

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
from excite.evaluation.metric_intervals import MetricIntervals
from excite.evaluation.placements import Placements
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums, bootstrap, jackknife
from tests.evaluation.simulated import simulate


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


def test_images_of_a_group_that_are_all_alike_are_worth_one() -> None:
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


def test_the_jackknifes_interval_of_a_share_is_wilsons() -> None:
    right = (np.arange(200) < 150).astype(float)
    left = (right.sum() - right) / 199
    got = jackknife_interval("f1", 0.75, left, np.ones((1, 200)))
    variance = 0.75 * 0.25 / 200 * (200 / 199) ** 2
    n = 0.75 * 0.25 / variance
    expected = wilson(0.75 * n, n, quantile=float(stats.t.ppf(0.975, 202)))
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_few_groups_of_a_class_that_carry_the_spread_widen_the_interval() -> None:
    # All variance is that of 6 groups of the second class: 5 degrees of freedom, and 3 more for counts.
    left = 0.5 + 0.001 * np.r_[np.zeros(94), np.resize([1, -1], 6)]
    true = np.stack([np.r_[np.ones(94), np.zeros(6)], np.r_[np.zeros(94), np.ones(6)]])
    n = 0.25 / (6 * 0.001**2)
    expected = wilson(n / 2, n, quantile=float(stats.t.ppf(0.975, 8)))
    got = jackknife_interval("f1", 0.5, left, true)
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("size", [1, 4])
def test_the_jackknifes_spread_of_an_area_is_delongs_and_obuchowskis(size: int) -> None:
    one = simulate(np.random.default_rng(0), 300, size=size, alike=1.0)
    left = jackknife([GroupSums(one)], 0)[0].overall["auroc"]
    parts = Placements.of(one.probabilities[:, [1]].T, one.targets == 1, one.group_codes).covariances()
    assert ((left - left.mean()) ** 2).sum() == pytest.approx(sum(parts)[0, 0], rel=0.03)


def test_every_range_holds_its_bounds() -> None:
    for name, value, lowest, highest in (
        ("mcc", -0.99, -1, 1),
        ("kappa", 0.99, -1, 1),
        ("f1", 0.99, 0, 1),
    ):
        left = value + np.resize([0.01, -0.01], 40)
        got = jackknife_interval(name, value, left, np.ones((1, 40)))
        assert got.method == "jackknife"
        assert lowest <= (got.low or 0) < value < (got.high or 0) <= highest


def test_where_there_is_no_interval_it_says_why() -> None:
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


def few_of_a_class(count: int, size: int = 1) -> Predictions:
    """The images of 100 groups, but only of the first ``count`` of class b."""
    one = simulate(np.random.default_rng(0), 100, size=size)
    first = np.unique(one.group_codes[one.targets == 1])[:count]
    return one.take(np.flatnonzero((one.targets == 0) | np.isin(one.group_codes, first)))


def test_a_class_of_few_groups_is_named_in_a_warning_or_as_the_reason() -> None:
    four = measure(few_of_a_class(4))
    assert four["low_group_count"] == ["a", "b"]  # what tells one from the other are the same 4 groups
    named = "4 groups of class 'b'; about 5 are needed"
    for metric in (four["auroc"], four["balanced_accuracy"], four["classes"]["b"]["auroc"]):
        assert metric["low"] < metric["value"] <= metric["high"]
        assert metric["warning"] == named
    assert "warning" not in four["accuracy"]
    two = measure(few_of_a_class(2))
    reason = "2 groups of class 'b' are too few; at least 3 are needed"
    for metric in (two["auroc"], two["balanced_accuracy"], two["mcc"], two["classes"]["b"]["f1"]):
        assert metric["low"] is None
        assert metric["reason"] == reason
    assert two["classes"]["b"]["sensitivity"]["low"] is not None  # Wilson's is honest about 2
    assert "warning" not in measure(few_of_a_class(5))["auroc"]


# What 95 % means. benchmarks/intervals.py has the full table; these are the same simulations, fewer of them.

NAMES = ("balanced_accuracy", "macro_f1", "mcc", "kappa", "auroc", "average_precision", "log_loss", "brier")

OF_IMAGES: dict[str, Any] = {"groups": 200}
OF_GROUPS: dict[str, Any] = {"groups": 60, "size": 5, "alike": 1.2}
SIMULATIONS: dict[str, dict[str, Any]] = {
    "200 images": OF_IMAGES,
    "60 groups": OF_GROUPS,
    "60 groups, 93 % right": {"groups": 60, "size": 5, "alike": 1.0, "signal": 2.6},
    "60 groups, 3 classes": {**OF_GROUPS, "signal": 2.0, "classes": 3},
}
RUNS = 400


def truth(settings: dict[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    """The figures of so many groups that their own error is small beside an interval's width."""
    table = GroupSums(simulate(np.random.default_rng(99), **(settings | {"groups": 100_000})))
    return {name: float(table.point().overall[name][0]) for name in names}


def coverage(
    settings: dict[str, Any], names: tuple[str, ...], runs: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The fraction of the intervals that hold the truth, and of the runs that have one."""
    known = truth(settings, names)
    random = np.random.default_rng(1)
    inside, given = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for _ in range(runs):
        one = simulate(random, **settings)
        table = GroupSums(one)
        intervals = MetricIntervals([one], [table], [table.point()])
        for name in names:
            found = intervals.overall(name)
            if found.low is not None and found.high is not None:
                given[name] += 1
                inside[name] += found.low <= known[name] <= found.high
    return {name: inside[name] / given[name] for name in names}, {name: given[name] / runs for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("settings", [OF_IMAGES, OF_GROUPS], ids=["200 images", "60 groups"])
def test_wilsons_intervals_of_accuracy_hold_the_truth_95_times_of_100(settings: dict[str, Any]) -> None:
    known = truth(settings, ("accuracy",))["accuracy"]
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(2000):
        one = simulate(random, **settings)
        right = np.bincount(one.group_codes, one.correct)
        interval = grouped_wilson(right, np.bincount(one.group_codes).astype(float))
        inside += (interval.low or 0) <= known <= (interval.high or 0)
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


@pytest.mark.slow
@pytest.mark.parametrize("settings", SIMULATIONS.values(), ids=SIMULATIONS)
def test_intervals_hold_the_truth_95_times_of_100(settings: dict[str, Any]) -> None:
    """Monte-Carlo error of 400 runs: 1.1 points. benchmarks/intervals.py has more."""
    inside, _ = coverage(settings, NAMES, RUNS)
    for name in NAMES:
        assert inside[name] == pytest.approx(0.95, abs=0.028), name


RARE: dict[str, dict[str, Any]] = {
    "30 groups, 20 %": {**OF_GROUPS, "groups": 30, "positive": 0.2},
    "200 images, 10 %": {"groups": 200, "positive": 0.1},
    "200 images, 3 %": {"groups": 200, "positive": 0.03},
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", RARE.values(), ids=RARE)
def test_intervals_hold_the_truth_when_a_class_is_rare(settings: dict[str, Any]) -> None:
    """Before, balanced accuracy was 89.5, 92.2 and 58 %, and AUROC 87 % of 200 images with 3 %."""
    names = ("balanced_accuracy", "macro_f1", "auroc", "average_precision", "log_loss")
    inside, given = coverage(settings, names, 400)
    for name in names:
        assert inside[name] > 0.925, name
        assert given[name] > 0.9, name


@pytest.mark.slow
def test_intervals_that_take_images_of_a_group_for_independent_hold_it_far_less_often() -> None:
    known = truth(OF_GROUPS, ("accuracy", "brier"))
    random = np.random.default_rng(1)
    inside = dict.fromkeys(known, 0)
    for _ in range(200):
        one = simulate(random, **OF_GROUPS)
        alone = Predictions(one.targets, one.probabilities, one.classes)
        table = GroupSums(alone, ranking=False)
        intervals = MetricIntervals([alone], [table], [table.point()])
        for name in known:
            found = intervals.overall(name)
            inside[name] += (found.low or 0) <= known[name] <= (found.high or 0)
    for name in known:
        assert inside[name] / 200 < 0.85, name
