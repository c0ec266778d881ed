"""Calibration against netcal, torchmetrics, scikit-learn and brute force; a known temperature is found."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.calibration import calibration_curve

from excite.errors import ExciteError
from excite.evaluation.bins import bin_of, equal_width
from excite.evaluation.calibration import (
    before_and_after,
    calibrated_range,
    calibration_error,
    fit_temperature,
    logits_of,
    reliability,
    with_temperature,
)
from excite.evaluation.measure import measure
from excite.evaluation.predictions import Predictions
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


@pytest.fixture
def kept_environment() -> Iterator[None]:
    """Restores environment variables and NumPy's random state, which other libraries change."""
    before, state = dict(os.environ), np.random.get_state()
    yield
    os.environ.clear()
    os.environ.update(before)
    np.random.set_state(state)


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


def test_chance_alone_makes_such_an_error() -> None:
    """A calibrated classifier's error lies in the range 95 times of 100, one that brags lies above it."""
    random = np.random.default_rng(1)
    inside = 0
    for run in range(200):
        confidences = random.uniform(0.5, 1, 150)
        predictions = confident(confidences.tolist(), (random.random(150) < confidences).tolist())
        low, high = calibrated_range(predictions, draws=300, seed=run)
        inside += low <= calibration_error(predictions) <= high
    assert inside / 200 == pytest.approx(0.95, abs=0.03)
    bragging = confident([0.95] * 150, (random.random(150) < 0.7).tolist())
    assert calibration_error(bragging) > calibrated_range(bragging)[1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(40_000, 4))
    targets = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from softmax(logits)
    assert fit_temperature(logits * temperature, targets) == pytest.approx(temperature, rel=0.03)


def test_the_temperature_is_where_the_slope_of_the_loss_is_0() -> None:
    predictions = simulate(np.random.default_rng(3), 300, classes=3)
    logits, rows = logits_of(predictions), np.arange(300)

    def slope(inverse: float) -> float:
        expected = (softmax(logits * inverse) * logits).sum(axis=1)
        return float((expected - logits[rows, predictions.targets]).mean())

    best = 1 / brentq(slope, 0.05, 20, xtol=1e-12)
    assert fit_temperature(logits, predictions.targets, smoothing=False) == pytest.approx(best, rel=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("kept_environment")
def test_the_temperature_is_netcals() -> None:
    scaling = pytest.importorskip("netcal.scaling", reason="netcal is not installed")
    torch = pytest.importorskip("torch")
    predictions = simulate(np.random.default_rng(3), 300, classes=3)
    torch.manual_seed(0)
    oracle = scaling.TemperatureScaling()
    oracle.fit(predictions.probabilities, predictions.targets)
    temperature = fit_temperature(logits_of(predictions), predictions.targets, smoothing=False)
    ours = with_temperature(predictions, temperature)
    assert ours.probabilities == pytest.approx(oracle.transform(predictions.probabilities), abs=2e-3)


def test_a_temperature_from_validation_mends_the_test_set_and_keeps_its_answers() -> None:
    random = np.random.default_rng(0)

    def bragging(groups: int) -> Predictions:
        plain = simulate(random, groups, classes=3)
        return Predictions(plain.targets, softmax(3 * logits_of(plain)), plain.classes, plain.groups)

    validation, test = bragging(1000), bragging(2000)
    temperature = fit_temperature(logits_of(validation), validation.targets)
    result = before_and_after(test, temperature)
    json.dumps(result, allow_nan=False)
    for name in ("log_loss", "brier", "ece", "ece_equal_mass"):
        assert result["after"][name]["value"] < result["before"][name]["value"], name
    assert (with_temperature(test, temperature).predicted == test.predicted).all()
    plain = measure(test, intervals=False)
    for name in ("log_loss", "brier", "ece", "ece_equal_mass"):
        assert result["before"][name]["value"] == pytest.approx(plain[name]["value"], abs=1e-12)


@pytest.mark.parametrize("images", [3, 20, 200])
def test_a_perfect_validation_set_does_not_make_the_classifier_certain(images: int) -> None:
    """So many right of so many: by Krichevsky and Trofimov's rule, (N + 1/2) / (N + 1) of the next are."""
    targets = np.arange(images) % 2
    logits = 4.0 * np.eye(2)[targets]
    surest = softmax(logits / fit_temperature(logits, targets)).max()
    assert surest == pytest.approx((images + 0.5) / (images + 1), abs=1e-6)
    assert fit_temperature(logits, targets, smoothing=False) < 0.1  # as cold as it may


def test_probabilities_of_exactly_0_and_1_can_be_fitted() -> None:
    sure = Predictions(np.arange(3), np.eye(3), ("a", "b", "c"))
    cooled = with_temperature(sure, fit_temperature(logits_of(sure), sure.targets))
    assert np.isfinite(cooled.probabilities).all()


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ExciteError, match="cannot be fitted without images"):
        fit_temperature(np.empty((0, 2)), np.empty(0, dtype=int))
    with pytest.raises(ExciteError, match="logits are not finite"):
        fit_temperature(np.array([[np.inf, 0.0]]), np.array([0]))
