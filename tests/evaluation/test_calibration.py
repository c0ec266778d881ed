"""Calibration against netcal, scikit-learn and SciPy's root finder; known parameters are found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.linear_model import LogisticRegression

from excite.errors import ExciteError
from excite.evaluation.calibration import (
    Calibration,
    fit_calibration,
    fit_temperature,
    safe_log,
)
from excite.evaluation.effective_sample_size import effective_groups
from excite.evaluation.predictions import Predictions
from tests.evaluation.simulated import simulate, softmax


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(40_000, 4))
    targets = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from softmax(logits)
    assert fit_temperature(logits * temperature, targets) == pytest.approx(temperature, rel=0.03)


def test_the_temperature_is_where_the_slope_of_the_loss_is_0() -> None:
    predictions = simulate(np.random.default_rng(3), 300, classes=3)
    logits, rows = safe_log(predictions.probabilities), np.arange(300)

    def slope(inverse: float) -> float:
        expected = (softmax(logits * inverse) * logits).sum(axis=1)
        return float((expected - logits[rows, predictions.targets]).mean())

    best = 1 / brentq(slope, 0.05, 20, xtol=1e-12)
    assert fit_temperature(logits, predictions.targets, smoothing=False) == pytest.approx(best, rel=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("kept_environment")
def test_the_temperature_is_netcals() -> None:
    pytest.importorskip("torchvision")  # loaded after the TensorFlow of netcal, its Triton crashes
    scaling = pytest.importorskip("netcal.scaling", reason="netcal is not installed")
    torch = pytest.importorskip("torch")
    predictions = simulate(np.random.default_rng(3), 300, classes=3)
    torch.manual_seed(0)
    oracle = scaling.TemperatureScaling()
    oracle.fit(predictions.probabilities, predictions.targets)
    temperature = fit_temperature(safe_log(predictions.probabilities), predictions.targets, smoothing=False)
    ours = Calibration(temperature, (0.0,) * 3).apply(predictions)
    assert ours.probabilities == pytest.approx(oracle.transform(predictions.probabilities), abs=2e-3)


@pytest.mark.parametrize("images", [3, 20, 200])
def test_a_perfect_validation_set_does_not_make_the_classifier_certain(images: int) -> None:
    """With N of N correct, Krichevsky and Trofimov's rule expects (N + 1/2) / (N + 1) of the next."""
    targets = np.arange(images) % 2
    logits = 4.0 * np.eye(2)[targets]
    surest = softmax(logits / fit_temperature(logits, targets)).max()
    assert surest == pytest.approx((images + 0.5) / (images + 1), abs=1e-6)
    assert fit_temperature(logits, targets, smoothing=False) < 0.1  # as cold as it may


def test_probabilities_of_exactly_0_and_1_can_be_fitted() -> None:
    sure = Predictions(np.arange(3), np.eye(3), ("a", "b", "c"))
    cooled = fit_calibration(safe_log(sure.probabilities), sure.targets)[0].apply(sure)
    assert np.isfinite(cooled.probabilities).all()


def test_logits_that_cannot_be_fitted_are_refused() -> None:
    with pytest.raises(ExciteError, match="cannot be fitted without images"):
        fit_calibration(np.empty((0, 2)), np.empty(0, dtype=int))
    with pytest.raises(ExciteError, match="logits are not finite"):
        fit_temperature(np.array([[np.inf, 0.0]]), np.array([0]))


def test_copies_of_images_do_not_make_the_classifier_more_certain() -> None:
    """Twenty photos that are all right give 20.5 / 21 = 0.976, as they do with 14 copies of each."""
    photos = np.repeat(np.arange(20), 14)
    logits = 4.0 * np.eye(2)[photos % 2]
    surest = softmax(logits / fit_temperature(logits, photos % 2, photos)).max()
    assert surest == pytest.approx(20.5 / 21, abs=1e-6)
    calibration, held_out = fit_calibration(logits, photos % 2, photos)
    assert calibration.probabilities(logits).max() == pytest.approx(20.5 / 21, abs=1e-6)
    assert held_out.max() == pytest.approx(16.5 / 17, abs=1e-6)  # without a fifth of the photos
    assert effective_groups(np.bincount(photos)) == pytest.approx(20)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 4])
def test_known_intercepts_are_found(classes: int) -> None:
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(20_000, classes))
    targets = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from softmax(logits)
    shift = np.linspace(-2, 2, classes)
    found, _ = fit_calibration(1.5 * (logits - shift), targets)
    assert found.temperature == pytest.approx(1.5, rel=0.03)
    assert found.intercept == pytest.approx(shift, abs=0.08)
    assert sum(found.intercept) == pytest.approx(0, abs=1e-9)


def test_it_is_scikit_learns_logistic_regression_where_images_are_many() -> None:
    """Of two classes, scale and intercept of the difference of the logits (Platt scaling)."""
    random = np.random.default_rng(1)
    score = random.normal(size=4000)
    targets = (random.random(4000) < 1 / (1 + np.exp(-(2 * score - 1.5)))).astype(int)
    oracle = LogisticRegression(C=np.inf).fit(score[:, None], targets)
    found, _ = fit_calibration(np.stack([np.zeros(4000), score], axis=1), targets)
    assert 1 / found.temperature == pytest.approx(oracle.coef_[0, 0], rel=0.02)
    assert found.intercept[1] - found.intercept[0] == pytest.approx(oracle.intercept_[0], rel=0.03)


def weighted(seed: int, images: int) -> tuple[np.ndarray, np.ndarray, LogisticRegression]:
    """Images of which 10 % are positive, and a model that was fitted to others with balanced weights."""
    random = np.random.default_rng(seed)
    draws = []
    for count in (400, images):
        positive = random.random(count) < 0.1
        draws.append((random.normal(size=(count, 5)) + 0.75 * positive[:, None], positive.astype(int)))
    (x, y), (new, targets) = draws
    return new, targets, LogisticRegression(class_weight="balanced").fit(x, y)


@pytest.mark.slow
def test_a_balanced_loss_is_undone_by_the_intercepts_and_not_by_a_temperature() -> None:
    found: dict[str, list[float]] = {"temperature": [], "intercepts": []}
    means: dict[str, list[float]] = {"temperature": [], "intercepts": []}
    for seed in range(15):
        x, y, model = weighted(seed, 4200)
        logits = np.stack([np.zeros(len(x)), model.decision_function(x)], axis=1)
        alone = Calibration(fit_temperature(logits[:200], y[:200]), (0.0, 0.0))
        both, _ = fit_calibration(logits[:200], y[:200])
        for name, calibration in (("temperature", alone), ("intercepts", both)):
            p = calibration.probabilities(logits[200:])
            found[name].append(float(-np.log(p[np.arange(4000), y[200:]]).mean()))
            means[name].append(float(p[:, 1].mean()))
    assert np.mean(means["temperature"]) > 0.2
    assert np.mean(means["intercepts"]) == pytest.approx(0.1, abs=0.03)
    assert np.mean(found["intercepts"]) < 0.65 * np.mean(found["temperature"])


@pytest.mark.slow
def test_without_a_shift_intercepts_are_rare_and_cost_nothing() -> None:
    """Images of a group are correlated: chance in five groups must not look like a shift."""
    losses, used = [], 0
    for seed in range(30):
        validation, test = (
            simulate(np.random.default_rng(10 * seed + k), n, size=5, alike=1.5)
            for k, n in ((0, 40), (1, 400))
        )
        logits, codes = safe_log(validation.probabilities), validation.group_codes
        alone = Calibration(fit_temperature(logits, validation.targets, codes), (0.0, 0.0))
        both, _ = fit_calibration(logits, validation.targets, codes)
        used += any(both.intercept)
        rows = np.arange(len(test))
        losses.append(
            [-np.log(c.apply(test).probabilities[rows, test.targets]).mean() for c in (both, alone)]
        )
    assert used <= 10
    assert np.mean([a - b for a, b in losses]) < 0.003


def test_held_out_probabilities_do_not_depend_on_the_fold_of_the_image() -> None:
    """With the labels of one group changed, its own held-out probabilities are the same."""
    predictions = simulate(np.random.default_rng(0), 8, classes=3, size=3)  # few groups: a temperature alone
    logits, codes = safe_log(predictions.probabilities), predictions.group_codes
    _, first = fit_calibration(logits, predictions.targets, codes)
    changed = np.where(codes == 2, (predictions.targets + 1) % 3, predictions.targets)
    _, second = fit_calibration(logits, changed, codes)
    assert np.array_equal(first[codes == 2], second[codes == 2])
    assert not np.allclose(first[codes != 2], second[codes != 2])


def test_the_inverse_gives_the_probabilities_back() -> None:
    predictions = simulate(np.random.default_rng(0), 50, classes=3)
    calibration = Calibration(1.7, (0.5, -0.2, -0.3))
    again = calibration.inverse.apply(calibration.apply(predictions))
    assert again.probabilities == pytest.approx(predictions.probabilities, abs=1e-12)
    assert Calibration.from_dict(calibration.to_dict()) == calibration
    expected = softmax(safe_log(predictions.probabilities) / 1.7 + np.array(calibration.intercept))
    assert calibration.apply(predictions).probabilities == pytest.approx(expected, abs=1e-12)
