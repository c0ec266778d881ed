"""Pooled folds, and the corrected variance of their mean."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from excite.errors import ExciteError
from excite.evaluation.folds import corrected_mean, mean_of_folds, measure_repeats, pool
from excite.evaluation.measure import measure
from excite.evaluation.metrics import OVERALL
from excite.evaluation.predictions import Predictions
from excite.evaluation.ranges import range_of
from tests.evaluation.simulated import simulate


def with_paths(predictions: Predictions) -> Predictions:
    names = tuple(f"{row}.png" for row in range(len(predictions)))
    return Predictions(
        predictions.targets, predictions.probabilities, predictions.classes, predictions.groups, names
    )


def test_pooled_folds_are_all_images_once() -> None:
    whole = with_paths(simulate(np.random.default_rng(0), 50, size=3))
    folds = [whole.take(whole.group_codes % 5 == fold) for fold in range(5)]
    together = pool(folds)
    assert sorted(together.paths or ()) == sorted(whole.paths or ())
    assert together.group_count == 50
    plain, pooled = measure(whole, intervals=False), measure(together, intervals=False)
    for name in OVERALL:
        assert pooled[name]["value"] == pytest.approx(plain[name]["value"], abs=1e-12)


def test_folds_that_share_images_or_divide_groups_are_refused() -> None:
    whole = with_paths(simulate(np.random.default_rng(0), 20, size=3))
    half = whole.group_codes < 10
    with pytest.raises(ExciteError, match=r"group '\d+' is in fold 1 and in fold 2"):
        pool([whole.take(np.arange(len(whole)) % 2 == 0), whole.take(np.arange(len(whole)) % 2 == 1)])
    alone = Predictions(whole.targets, whole.probabilities, whole.classes, None, whole.paths)
    with pytest.raises(ExciteError, match=r"0.png occurs twice"):
        pool([alone, alone.take(half)])
    other = Predictions(whole.targets, whole.probabilities, ("b", "a"), whole.groups, whole.paths)
    with pytest.raises(ExciteError, match="classes of fold 2 differ"):
        pool([whole, other])
    with pytest.raises(ExciteError, match="must have paths and groups"):
        pool([whole.take(half), alone.take(~half)])
    with pytest.raises(ExciteError, match="no folds"):
        pool([])


@pytest.mark.slow
def test_the_mean_of_folds_does_not_have_the_bias_of_the_pooled_auroc() -> None:
    """Scores without signal: every fold has its own offset, the higher the fewer positives it tests."""
    random = np.random.default_rng(0)
    pooled, means = [], []
    for _ in range(100):
        folds = []
        for fold in range(5):
            targets = (random.random(20) < 0.5).astype(int)
            scores = 0.5 + 0.2 * (0.5 - targets.mean()) + 0.05 * random.normal(size=20).clip(-3, 3)
            paths = tuple(f"{fold} {row}" for row in range(20))
            both = np.stack([1 - scores, scores], axis=1)
            folds.append(Predictions(targets, both, ("a", "b"), paths=paths))
        expected = np.mean([roc_auc_score(fold.targets, fold.probabilities[:, 1]) for fold in folds])
        assert mean_of_folds(folds) == {"value": pytest.approx(expected), "folds": 5}
        means.append(expected)
        pooled.append(measure(pool(folds), intervals=False)["auroc"]["value"])
    assert np.mean(means) == pytest.approx(0.5, abs=0.02)
    assert np.mean(pooled) < 0.48


def test_folds_with_one_class_do_not_count() -> None:
    whole = with_paths(simulate(np.random.default_rng(0), 40))
    one_class = whole.take(np.flatnonzero(whole.targets == 0))
    assert mean_of_folds([whole, one_class])["folds"] == 1
    assert mean_of_folds([one_class]) == {"value": None, "folds": 0}


def test_repeats_are_averaged_and_count_no_image_twice() -> None:
    one = with_paths(simulate(np.random.default_rng(0), 80, size=2))
    order = np.random.default_rng(1).permutation(len(one))
    same = measure_repeats([one, one.take(order), one], resamples=300)
    single = measure(one, resamples=300)
    json.dumps(same, allow_nan=False)
    assert (same["n"], same["groups"], same["repeats"]) == (len(one), 80, 3)
    for name in ("auroc", "log_loss", "mcc"):
        assert same[name]["value"] == pytest.approx(single[name]["value"], abs=1e-12)
        assert same[name]["low"] == pytest.approx(single[name]["low"], abs=1e-9)  # no narrower for repeats
    for name in ("ece", "ece_equal_mass"):
        assert same[name]["calibrated"]["high"] == pytest.approx(single[name]["calibrated"]["high"], abs=0.01)
    flipped = Predictions(one.targets, 1 - one.probabilities, one.classes, one.groups, one.paths)
    both = measure_repeats([one, flipped], resamples=50)
    assert both["auroc"]["value"] == pytest.approx(0.5, abs=1e-12)
    with pytest.raises(ExciteError, match="contain different images"):
        measure_repeats([one, one.take(order[:40])])
    with pytest.raises(ExciteError, match="no repeats"):
        measure_repeats([])


def test_the_corrected_interval_is_students_with_a_larger_variance() -> None:
    values = [0.81, 0.84, 0.79, 0.88, 0.83]
    got = corrected_mean(values, train=80, test=20)
    variance = (1 / 5 + 20 / 80) * np.var(values, ddof=1)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=np.sqrt(variance))
    assert (got.low, got.high) == pytest.approx((low, high), abs=1e-12)
    assert got.standard_error == pytest.approx(np.sqrt(variance), abs=1e-12)
    # With a test set of no size, Student's own interval and test.
    plain = corrected_mean(values, train=1, test=1e-15)
    assert (plain.low, plain.high) == pytest.approx(
        stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    )
    assert plain.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


@given(
    st.sampled_from(OVERALL),
    st.lists(st.floats(0, 1), min_size=2, max_size=10),
    st.integers(1, 50),
)
def test_no_interval_of_a_mean_leaves_the_range_of_its_metric(
    metric: str, places: list[float], test: int
) -> None:
    bottom, top = range_of(metric)
    values = [bottom + (top - bottom) * place for place in places]
    got = corrected_mean(values, train=100 - test, test=test, metric=metric)
    if got.low is None or got.high is None:
        assert got.reason
    else:
        assert bottom <= got.low <= got.mean <= got.high <= top


def test_the_interval_of_a_mean_near_the_end_of_its_range_contains_the_truth() -> None:
    """Folds of 20 independent images at 95 %: Student's interval leaves the range and misses on one side."""
    random = np.random.default_rng(0)
    accuracies = random.binomial(20, 0.95, size=(2000, 5)) / 20
    found = [corrected_mean(row, train=4, test=1, metric="accuracy") for row in accuracies]
    defined = [one for one in found if one.low is not None and one.high is not None]
    assert len(defined) > 1950
    assert np.mean([one.low <= 0.95 <= one.high for one in defined if one.low and one.high]) > 0.95
    student = [corrected_mean(row, train=4, test=1) for row in accuracies]
    assert np.mean([one.high > 1 for one in student if one.high]) > 0.5


def test_the_interval_of_a_log_loss_is_students_on_a_logarithmic_scale() -> None:
    values = [0.02, 0.4, 0.1, 0.05, 0.2]
    got = corrected_mean(values, train=4, test=1, metric="log_loss")
    assert got.low is not None
    assert got.high is not None
    error = np.sqrt(1 / 5 + 1 / 4) * np.std(values, ddof=1) / np.mean(values)  # the delta method
    low, high = stats.t.interval(0.95, 4, loc=np.log(np.mean(values)), scale=error)
    assert (got.low, got.high) == pytest.approx((np.exp(low), np.exp(high)))
    plain = corrected_mean(values, train=4, test=1)
    assert plain.low is not None
    assert plain.low < 0 < got.low


def test_with_shared_training_images_only_the_corrected_test_holds_its_level() -> None:
    """A null with the correlation that Nadeau and Bengio assume, test / (test + train), between folds."""
    random = np.random.default_rng(0)
    runs, folds, correlation = 4000, 10, 0.1
    shared = random.normal(size=(runs, 1)) * np.sqrt(correlation)
    values = shared + random.normal(size=(runs, folds)) * np.sqrt(1 - correlation)
    corrected = np.mean([corrected_mean(row, train=0.9, test=0.1).p < 0.05 for row in values])
    student = np.mean(stats.ttest_1samp(values, 0, axis=1).pvalue < 0.05)
    assert corrected == pytest.approx(0.05, abs=0.01)
    assert student > 0.12


def test_values_that_do_not_vary() -> None:
    assert corrected_mean([0, 0, 0], train=2, test=1).p == 1
    assert corrected_mean([1, 1, 1], train=2, test=1).p == 0
    perfect = corrected_mean([1, 1, 1], train=2, test=1, metric="accuracy")
    assert (perfect.mean, perfect.low, perfect.high) == (1, None, None)
    assert perfect.reason == "the estimate does not vary"
    with pytest.raises(ExciteError, match="two finite values"):
        corrected_mean([0.5], train=2, test=1)
    with pytest.raises(ExciteError, match="must be positive"):
        corrected_mean([0.5, 0.6], train=0, test=1)
