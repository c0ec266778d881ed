"""Differences against brute force and statsmodels, and the level of their tests by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from excite.errors import ExciteError
from excite.evaluation.comparison import compare, mcnemar
from excite.evaluation.delong import delong
from excite.evaluation.measure import measure
from excite.evaluation.metrics import OVERALL, PER_CLASS
from excite.evaluation.predictions import Predictions
from tests.evaluation.simulated import simulate
from tests.evaluation.simulated_pairs import GROUPS, IMAGES, pair

SOME = ("accuracy", "balanced_accuracy", "log_loss", "brier")


def test_every_difference_is_that_of_the_two_metrics() -> None:
    first, second = pair(np.random.default_rng(0), 100, size=2, alike=0.5, better=0.7)
    one, two = measure(first, intervals=False), measure(second, intervals=False)
    for name, found in compare(first, second, resamples=200).items():
        assert found.value == pytest.approx(two[name]["value"] - one[name]["value"], abs=1e-12)
        assert (found.n, found.groups, found.label) == (len(first), 100, None)
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.high
    for name, found in compare(first, second, PER_CLASS, label="b", resamples=200).items():
        expected = two["classes"]["b"][name]["value"] - one["classes"]["b"][name]["value"]
        assert found.value == pytest.approx(expected, abs=1e-12)
    assert set(compare(first, second, resamples=20)) == set(OVERALL)


def test_a_difference_is_paired_as_scipys_bootstrap_of_the_images_differences() -> None:
    first, second = pair(np.random.default_rng(0), 150, better=0.5)
    gaps = second.correct.astype(float) - first.correct
    expected = stats.bootstrap(
        (gaps,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    found = compare(first, second, ["accuracy"], resamples=20_000)["accuracy"]
    # Monte-Carlo error of an end, and Student's quantile in place of the normal one: 1.5 % of the width.
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.05 * width)
    assert found.high == pytest.approx(expected.high, abs=0.05 * width)


def test_p_and_interval_agree_about_0() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        first, second = pair(random, 100, better=0.4)
        for found in compare(first, second, SOME, resamples=1000).values():
            assert found.p is not None
            outside = (found.low or 0) > 0 or (found.high or 0) < 0
            # At a bound of 0, half of the swaps that end there count for p.
            if abs(found.p - 0.05) > 0.005 and 0 not in (found.low, found.high):
                assert outside == (found.p < 0.05)


def test_equal_predictions_have_a_difference_of_zero_and_no_p() -> None:
    one = simulate(np.random.default_rng(0), 50)
    found = compare(one, one, ["accuracy", "auroc"], resamples=50)
    for difference in found.values():
        assert difference.value == 0
        assert difference.p is None
        assert difference.reason == "the two classifiers do not differ in any group"
    assert mcnemar(one, one).p == mcnemar(one, one).mid_p == 1
    assert delong(one, one).p is None
    ones = Predictions(np.zeros(20, dtype=int), np.full((20, 2), 0.5), ("a", "b"))
    assert compare(ones, ones, ["auroc"], resamples=20)["auroc"].value is None


def test_mcnemars_test_is_that_of_statsmodels() -> None:
    tables = pytest.importorskip(
        "statsmodels.stats.contingency_tables", reason="statsmodels is not installed"
    )
    random = np.random.default_rng(0)
    for groups in (5, 40, 300):
        first, second = pair(random, groups, better=0.6)
        got = mcnemar(first, second)
        table = [[0, got.first_only], [got.second_only, 0]]
        assert got.p == pytest.approx(tables.mcnemar(table, exact=True).pvalue, abs=1e-9)
        assert got.first_only == sum(
            a == t != b for a, b, t in zip(first.predicted, second.predicted, first.targets, strict=True)
        )
        assert got.independent
        assert got.mid_p <= got.p
    assert not mcnemar(*pair(random, 20, size=3)).independent


@pytest.mark.parametrize(("count", "expected"), [(1, 0.75), (3, 0.84375)])
def test_the_mid_p_of_equal_counts_counts_their_outcome_half(count: int, expected: float) -> None:
    """1 - P(X = count) / 2 (Fagerland, Lydersen & Laake 2013)."""
    rows = np.arange(20)
    first, second = (
        Predictions(np.zeros(20, dtype=int), np.eye(2)[wrong.astype(int)], ("a", "b"))
        for wrong in (rows < count, (rows >= count) & (rows < 2 * count))
    )
    assert mcnemar(first, second).mid_p == pytest.approx(expected)
    assert 1 - stats.binom.pmf(count, 2 * count, 0.5) / 2 == pytest.approx(expected)


def test_too_few_groups_of_one_class_are_the_reason_for_no_p() -> None:
    first, second = pair(np.random.default_rng(0), 60)
    for count, given in ((2, False), (4, True), (5, True)):
        keep = np.flatnonzero((first.targets == 0) | (np.cumsum(first.targets) <= count))
        found = compare(first.take(keep), second.take(keep), ("accuracy", "auroc"), resamples=200)
        assert found["accuracy"].p is not None
        assert (found["auroc"].p is not None) == given
        if count == 2:
            assert found["auroc"].reason == "2 groups of class 'b' are too few; at least 3 are needed"
            with pytest.raises(ExciteError, match="at least 3 groups with 'b'"):
                delong(first.take(keep), second.take(keep))
        warning = "4 groups of class 'b'; about 5 are needed" if count == 4 else None
        assert found["auroc"].warning == warning


# What 5 % means; benchmarks/intervals.py has more of them.


@pytest.mark.slow
@pytest.mark.parametrize("settings", [IMAGES, GROUPS], ids=["200 images", "60 groups"])
def test_equal_classifiers_differ_significantly_in_5_percent(settings: dict[str, Any]) -> None:
    random = np.random.default_rng(2)
    runs = 500  # Monte-Carlo error: 1 point
    alarms = dict.fromkeys(SOME, 0)
    for run in range(runs):
        first, second = pair(random, **settings)
        for name, found in compare(first, second, SOME, resamples=400, seed=run % 4).items():
            alarms[name] += found.p is not None and found.p < 0.05
    for name, count in alarms.items():
        assert count / runs == pytest.approx(0.05, abs=0.025), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"groups": 200, "positive": 0.03},
        {"groups": 40, "positive": 0.1, "size": 5, "alike": 1.0},
        {"groups": 12, "positive": 0.4},
    ],
    ids=["200 images, 3 %", "40 groups, 10 %", "12 images"],
)
def test_a_rare_class_causes_no_false_alarms(settings: dict[str, Any]) -> None:
    """An earlier version had 10 to 12 % false positives for AUROC, and 10 to 14 % for DeLong's test."""
    random = np.random.default_rng(2)
    names = ("balanced_accuracy", "auroc", "log_loss")
    p_values: dict[str, list[float]] = {name: [] for name in (*names, "delong")}
    for run in range(300):
        first, second = pair(random, **settings)
        for name, found in compare(first, second, names, resamples=500, seed=run % 4).items():
            if found.p is not None:
                p_values[name].append(found.p)
        try:
            p_values["delong"].append(delong(first, second).p or 1.0)
        except ExciteError:
            continue
    for name, values in p_values.items():
        assert len(values) > 200
        assert np.mean(np.array(values) < 0.05) < 0.085, name


@pytest.mark.slow
def test_mcnemars_exact_p_is_conservative_and_its_mid_p_is_at_its_level() -> None:
    random = np.random.default_rng(0)
    either = random.binomial(200, 0.15, 3000)
    exact, mid = [], []
    for count, first in zip(either, random.binomial(either, 0.5), strict=True):
        right = np.arange(200)
        a = Predictions(np.zeros(200, dtype=int), np.eye(2)[(right < first).astype(int)], ("a", "b"))
        b = Predictions(
            np.zeros(200, dtype=int), np.eye(2)[((right >= first) & (right < count)).astype(int)], ("a", "b")
        )
        found = mcnemar(a, b)
        exact.append(found.p < 0.05)
        mid.append(found.mid_p < 0.05)
    assert np.mean(exact) < 0.05
    assert np.mean(mid) == pytest.approx(0.05, abs=0.01)
