"""Thresholds, decision curves and abstention against scikit-learn's curves and plain counting."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_curve

from excite.errors import ExciteError
from excite.evaluation.abstention import (
    accuracy_by_coverage,
    choose_confidence,
    with_abstention,
)
from excite.evaluation.decision_curve import decision_curve
from excite.evaluation.operating_point import at_threshold, choose_threshold
from excite.evaluation.predictions import Predictions
from tests.evaluation.simulated import messy, simulate


@settings(max_examples=100, deadline=None)
@given(
    images=st.integers(2, 40),
    levels=st.sampled_from([1, 2, 5, 1000]),
    wish=st.sampled_from([0.01, 0.5, 0.8, 0.9, 0.95, 1.0]),
    seed=st.integers(0, 10_000),
)
def test_no_threshold_keeps_the_wish_and_gives_away_less(
    images: int, levels: int, wish: float, seed: int
) -> None:
    probabilities, targets = messy(np.random.default_rng(seed), images, 2, levels=levels)
    targets[:2] = 0, 1
    validation = Predictions(targets, probabilities, ("well", "ill"))
    false_alarms, found, _ = roc_curve(targets, probabilities[:, 1], drop_intermediate=False)
    one = choose_threshold(validation, "ill", sensitivity=wish)
    assert one.sensitivity >= wish - 1e-9
    assert one.specificity == pytest.approx(1 - false_alarms[found >= wish - 1e-9].min())
    two = choose_threshold(validation, "ill", specificity=wish)
    assert two.specificity >= wish - 1e-9
    assert two.sensitivity == pytest.approx(found[1 - false_alarms >= wish - 1e-9].max())
    for point in (one, two):
        same = at_threshold(validation, "ill", point.threshold)
        assert same["sensitivity"]["value"] == point.sensitivity
        assert same["specificity"]["value"] == point.specificity


def test_the_test_set_is_measured_at_the_threshold_of_the_validation_set() -> None:
    random = np.random.default_rng(0)
    validation, test = simulate(random, 800), simulate(random, 900)
    point = choose_threshold(validation, "b", sensitivity=0.9)
    result = at_threshold(test, point.label, point.threshold)
    json.dumps(result, allow_nan=False)
    called = test.probabilities[:, 1] >= point.threshold
    ill = test.targets == 1
    assert (result["n"], result["groups"]) == (900, 900)
    assert result["tp"] == (called & ill).sum()
    assert result["tp"] + result["fp"] + result["fn"] + result["tn"] == 900
    assert result["ppv"]["value"] == pytest.approx(ill[called].mean())
    assert result["npv"]["value"] == pytest.approx(1 - ill[~called].mean())
    assert result["accuracy"]["value"] == pytest.approx((called == ill).mean())
    expected = stats.binomtest(int(result["tp"]), int(ill.sum())).proportion_ci(method="wilson")
    assert result["sensitivity"]["low"] == pytest.approx(expected.low, abs=1e-9)
    assert result["sensitivity"]["high"] == pytest.approx(expected.high, abs=1e-9)
    assert result["sensitivity"]["low"] < 0.9 < result["sensitivity"]["high"]


def test_what_a_threshold_leaves_without_images_is_not_defined() -> None:
    test = Predictions(np.zeros(3, dtype=int), np.array([[0.8, 0.2]] * 3), ("well", "ill"))
    result = at_threshold(test, "ill", 0.5)
    assert result["sensitivity"] == {"value": None, "reason": "no image belongs to this class"}
    assert result["ppv"] == {"value": None, "reason": "no image reaches the threshold"}
    assert result["specificity"]["value"] == 1


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({}, "a sensitivity or a specificity"),
        ({"sensitivity": 0.9, "specificity": 0.9}, "a sensitivity or a specificity"),
        ({"sensitivity": 90}, "sensitivity must be in \\(0, 1\\], got 90"),
        ({"specificity": 0}, "specificity must be in"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(wishes: dict[str, float], message: str) -> None:
    with pytest.raises(ExciteError, match=message):
        choose_threshold(simulate(np.random.default_rng(0), 20), "a", **wishes)


def test_a_class_that_is_unknown_or_without_images_is_refused() -> None:
    one = Predictions(np.zeros(4, dtype=int), np.full((4, 2), 0.5), ("well", "ill"))
    with pytest.raises(ExciteError, match="did you mean 'ill'"):
        choose_threshold(one, "il", sensitivity=0.9)
    with pytest.raises(ExciteError, match="none of the validation images belong to 'ill'"):
        choose_threshold(one, "ill", sensitivity=0.9)
    with pytest.raises(ExciteError, match="all of the validation images belong to 'well'"):
        choose_threshold(one, "well", sensitivity=0.9)


def test_net_benefit_is_vickers_formula() -> None:
    test = simulate(np.random.default_rng(0), 120, size=2, alike=1)
    curve = decision_curve(test, resamples=300)
    ill, scores = test.targets == 1, test.probabilities[:, 1]
    for at, model, low, high, everyone in zip(
        curve.thresholds, curve.model, curve.low, curve.high, curve.everyone, strict=True
    ):
        tp, fp = (scores[ill] >= at).sum(), (scores[~ill] >= at).sum()
        assert model == pytest.approx((tp - fp * at / (1 - at)) / len(test), abs=1e-12)
        assert everyone == pytest.approx(ill.mean() - (1 - ill.mean()) * at / (1 - at), abs=1e-12)
        if low is not None and high is not None:
            assert low <= model <= high
    assert sum(low is not None for low in curve.low) > 80
    assert (curve.n, curve.groups) == (len(test), 120)


def test_decision_curves_are_of_one_class_and_of_thresholds_between_0_and_1() -> None:
    three = simulate(np.random.default_rng(0), 40, classes=3)
    with pytest.raises(ExciteError, match="needs a positive class"):
        decision_curve(three)
    assert decision_curve(three, "b", resamples=20).label == "b"
    with pytest.raises(ExciteError, match="must be in"):
        decision_curve(three, "b", thresholds=np.array([0.5, 1.0]))


@settings(max_examples=60, deadline=None)
@given(images=st.integers(1, 150), levels=st.sampled_from([1, 3, 1000]), seed=st.integers(0, 10_000))
def test_accuracy_by_coverage_is_that_of_the_surest_images(images: int, levels: int, seed: int) -> None:
    probabilities, targets = messy(np.random.default_rng(seed), images, 3, levels=levels)
    predictions = Predictions(targets, probabilities, ("a", "b", "c"))
    curve = accuracy_by_coverage(predictions)
    assert curve[0].coverage == 1
    assert curve[0].accuracy == pytest.approx(predictions.correct.mean())
    for point in curve:
        sure = [i for i in range(images) if predictions.confidences[i] >= point.threshold]
        assert point.answered == len(sure)
        assert point.coverage == pytest.approx(len(sure) / images)
        assert point.accuracy == pytest.approx(np.mean([predictions.correct[i] for i in sure]))
    assert [one.coverage for one in curve] == sorted((one.coverage for one in curve), reverse=True)


@settings(max_examples=60, deadline=None)
@given(images=st.integers(1, 60), levels=st.sampled_from([1, 3, 1000]), seed=st.integers(0, 10_000))
def test_the_confidence_for_a_wished_accuracy_answers_as_many_as_can_be(
    images: int, levels: int, seed: int
) -> None:
    probabilities, targets = messy(np.random.default_rng(seed), images, 3, levels=levels)
    predictions = Predictions(targets, probabilities, ("a", "b", "c"))
    shares = {
        float(c): predictions.correct[predictions.confidences >= c].mean() for c in predictions.confidences
    }
    for wish in (0.4, 0.8, 1.0):
        good = [c for c, share in shares.items() if share >= wish - 1e-12]
        if good:
            assert choose_confidence(predictions, wish) == min(good)
        else:
            with pytest.raises(ExciteError, match=r"no threshold reaches .*request at most"):
                choose_confidence(predictions, wish)


def test_below_the_confidence_the_classifier_abstains() -> None:
    rows = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    result = with_abstention(Predictions(np.array([0, 0, 1]), rows, ("a", "b")), 0.6)
    json.dumps(result, allow_nan=False)
    assert result["answered"] == 2
    assert result["coverage"]["value"] == pytest.approx(2 / 3)
    assert result["accuracy"]["value"] == 0.5
    nobody = with_abstention(Predictions(np.array([0, 0, 1]), rows, ("a", "b")), 1.0)
    assert nobody["accuracy"] == {"value": None, "reason": "no image reaches this confidence"}
