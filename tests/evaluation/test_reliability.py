"""Calibration errors against netcal, torchmetrics, scikit-learn and brute force."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from excite.evaluation.bins import bin_of, equal_width
from excite.evaluation.calibration import Calibration, fit_calibration, safe_log
from excite.evaluation.measure import measure
from excite.evaluation.predictions import Predictions
from excite.evaluation.reliability import (
    before_and_after,
    calibration_error,
    class_calibration,
    reliability,
)
from tests.evaluation.simulated import messy, simulate, softmax


def confident(confidences: list[float], right: list[bool]) -> Predictions:
    """Two classes, predicted class 0 with these confidences."""
    first = np.array(confidences)
    return Predictions(np.where(right, 0, 1), np.stack([first, 1 - first], axis=1), ("a", "b"))


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("mass", [False, True])
def test_calibration_error_is_netcals(classes: int, mass: bool) -> None:
    netcal = pytest.importorskip("netcal.metrics", reason="netcal is not installed")
    # 1001 and 15 share no factor: no edge of equal mass falls on an image, where conventions differ.
    predictions = simulate(np.random.default_rng(classes), 1002, classes=classes)
    given, truth = predictions.probabilities, predictions.targets
    if classes == 2:  # netcal would bin the probability of class 1, not that of the answer
        given, truth = predictions.confidences, predictions.correct.astype(int)
    expected = netcal.ECE(15, equal_intervals=not mass).measure(given, truth)
    assert calibration_error(predictions, mass=mass) == pytest.approx(expected, abs=1e-9)


@pytest.mark.usefixtures("kept_environment")
def test_calibration_error_is_torchmetrics() -> None:
    functional = pytest.importorskip(
        "torchmetrics.functional.classification", reason="torchmetrics is not installed"
    )
    torch = pytest.importorskip("torch")
    predictions = simulate(np.random.default_rng(0), 500, classes=4)
    expected = functional.multiclass_calibration_error(
        torch.tensor(predictions.probabilities), torch.tensor(predictions.targets), num_classes=4, n_bins=15
    )
    assert calibration_error(predictions) == pytest.approx(float(expected), abs=1e-6)  # it has float32 edges


def test_reliability_is_scikit_learns_calibration_curve() -> None:
    predictions = simulate(np.random.default_rng(0), 400)
    for mass, strategy in ((False, "uniform"), (True, "quantile")):
        accuracy, confidence = calibration_curve(
            predictions.correct, predictions.confidences, n_bins=15, strategy=strategy
        )
        found = reliability(predictions, mass=mass)
        assert [one.accuracy for one in found] == pytest.approx(accuracy.tolist(), abs=1e-12)
        assert [one.confidence for one in found] == pytest.approx(confidence.tolist(), abs=1e-12)
        assert sum(one.n for one in found) == 400
        assert all((one.low or 0) <= one.accuracy <= (one.high or 0) for one in found)


@settings(max_examples=80, deadline=None)
@given(images=st.integers(1, 60), levels=st.sampled_from([1, 3, 1000]), seed=st.integers(0, 10_000))
def test_measures_calibration_errors_are_those_of_the_bins(images: int, levels: int, seed: int) -> None:
    probabilities, targets = messy(np.random.default_rng(seed), images, 3, levels=levels)
    predictions = Predictions(targets, probabilities, ("a", "b", "c"))
    figures = measure(predictions, intervals=False)
    by_hand = 0.0
    for index in range(15):
        low, high = index / 15, (index + 1) / 15
        inside = [i for i, c in enumerate(predictions.confidences) if low < c <= high + 1e-15]
        if inside:
            by_hand += abs(sum(predictions.confidences[i] - predictions.correct[i] for i in inside))
    assert figures["ece"]["value"] == pytest.approx(by_hand / images, abs=1e-9)
    assert calibration_error(predictions) == pytest.approx(by_hand / images, abs=1e-9)
    assert figures["ece_equal_mass"]["value"] == pytest.approx(
        calibration_error(predictions, mass=True), abs=1e-9
    )


def test_full_confidence_lies_in_the_last_bin() -> None:
    predictions = confident([1.0, 1.0, 0.99, 0.6], [True, False, True, True])
    last = reliability(predictions)[-1]
    assert (last.n, last.up_to) == (3, 1.0)
    assert calibration_error(predictions) == pytest.approx((abs(2.99 - 2) + 0.4) / 4)
    assert bin_of(np.array([0.0, 1.0]), equal_width(10)).tolist() == [0, 9]


def test_equal_confidences_share_a_bin() -> None:
    found = reliability(confident([0.7] * 8 + [0.9] * 2, [True] * 10), mass=True)
    assert sorted(one.n for one in found) == [2, 8]


@settings(max_examples=40, deadline=None)
@given(images=st.integers(2, 60), classes=st.integers(2, 5), seed=st.integers(0, 10_000))
def test_errors_of_classes_are_those_of_bins_counted_by_hand(images: int, classes: int, seed: int) -> None:
    probabilities, targets = messy(np.random.default_rng(seed), images, classes)
    predictions = Predictions(targets, probabilities, tuple("abcde"[:classes]))
    found = class_calibration(predictions)
    errors = []
    for index, name in enumerate(predictions.classes):
        by_hand = 0.0
        for number in range(15):
            low, high = number / 15, (number + 1) / 15
            column = predictions.probabilities[:, index]
            inside = [i for i, p in enumerate(column) if low < p <= high + 1e-15]
            off = sum(column[i] - (targets[i] == index) for i in inside)
            by_hand += abs(off) / images
        errors.append(by_hand)
        row = found["classes"][name]
        assert row["ece"]["value"] == pytest.approx(by_hand, abs=1e-9)
        assert row["predicted"]["value"] == pytest.approx(predictions.probabilities[:, index].mean())
        assert row["observed"]["value"] == pytest.approx((targets == index).mean())
        assert row["observed"]["low"] <= row["observed"]["value"] <= row["observed"]["high"]
    assert found["classwise_ece"]["value"] == pytest.approx(np.mean(errors), abs=1e-9)


def test_a_shift_of_the_prior_shows_in_the_classwise_error() -> None:
    """10 % positive, predicted with far more: the interval of the observed frequency shows it."""
    random = np.random.default_rng(0)
    positive = random.random(1000) < 0.1
    score = random.normal(size=1000) + 1.5 * positive
    odds = np.exp(1.5 * score - 1.5**2 / 2) * 0.35
    p = odds / (1 + odds)
    found = class_calibration(
        Predictions(positive.astype(int), np.stack([1 - p, p], axis=1), ("well", "ill"))
    )
    ill = found["classes"]["ill"]
    assert ill["predicted"]["value"] > 1.5 * ill["observed"]["high"]
    assert found["classwise_ece"]["value"] > found["classwise_ece"]["calibrated"]["high"]


def test_the_report_of_a_calibration_is_that_of_both_predictions() -> None:
    random = np.random.default_rng(0)

    def overconfident(groups: int) -> Predictions:
        plain = simulate(random, groups, classes=3)
        shifted = softmax(3 * safe_log(plain.probabilities) + np.array([0, 0, 4]))
        return Predictions(plain.targets, shifted, plain.classes, plain.groups)

    validation, test = overconfident(1000), overconfident(2000)
    calibration, _ = fit_calibration(safe_log(validation.probabilities), validation.targets)
    result = before_and_after(test, calibration)
    json.dumps(result, allow_nan=False)
    for name in ("log_loss", "brier", "ece", "ece_equal_mass"):
        assert result["after"][name]["value"] < result["before"][name]["value"], name
    for side, one in (("before", test), ("after", calibration.apply(test))):
        plain = measure(one, intervals=False)
        for name in ("log_loss", "brier", "ece", "ece_equal_mass", "accuracy", "balanced_accuracy"):
            assert result[side][name]["value"] == pytest.approx(plain[name]["value"], abs=1e-12)
    assert result["changed"] == (test.predicted != calibration.apply(test).predicted).sum() > 0
    assert list(result["intercept"]) == ["a", "b", "c"]
    alone = before_and_after(test, Calibration(2.0, (0.0, 0.0, 0.0)))
    assert alone["changed"] == 0
    assert alone["before"]["accuracy"] == alone["after"]["accuracy"]
