"""The range of a calibrated classifier's error: simulated coverage, with and without groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from excite.evaluation.calibrated_range import calibrated_range, classwise_range
from excite.evaluation.predictions import Predictions
from excite.evaluation.reliability import calibration_error, class_calibration


def confident(confidences: list[float], right: list[bool]) -> Predictions:
    """Two classes, predicted class 0 with these confidences."""
    first = np.array(confidences)
    return Predictions(np.where(right, 0, 1), np.stack([first, 1 - first], axis=1), ("a", "b"))


def test_a_calibrated_error_is_inside_the_range_and_an_overconfident_one_above_it() -> None:
    """A calibrated classifier's error lies in the range 95 times of 100, an overconfident one above it."""
    random = np.random.default_rng(1)
    inside = 0
    for run in range(200):
        confidences = random.uniform(0.5, 1, 150)
        predictions = confident(confidences.tolist(), (random.random(150) < confidences).tolist())
        low, high = calibrated_range(predictions, draws=300, seed=run)
        inside += low <= calibration_error(predictions) <= high
    assert inside / 200 == pytest.approx(0.95, abs=0.03)
    overconfident = confident([0.95] * 150, (random.random(150) < 0.7).tolist())
    assert calibration_error(overconfident) > calibrated_range(overconfident)[1]


def grouped(seed: int, groups: int, size: int, *, temperature: float = 1.0) -> Predictions:
    """Groups with one class that are easy or hard together; by discriminant analysis, p is exact."""
    random = np.random.default_rng(seed)
    positive = np.repeat(random.random(groups) < 0.5, size)
    score = np.where(positive, 2.4, -2.4) + 2 * np.repeat(random.normal(size=groups), size)
    p = expit(2 * 2.4 * (score + random.normal(size=len(score))) / 5 / temperature)
    names = np.repeat(np.arange(groups), size).astype(str)
    return Predictions(positive.astype(int), np.stack([1 - p, p], axis=1), ("a", "b"), names)


@pytest.mark.slow
def test_correlated_errors_within_groups_stay_inside_the_range() -> None:
    """Nominal are 2.5 %; without groups far more are outside, and overconfidence is still found."""
    outside = {"groups": 0, "none": 0, "classes": 0, "overconfident": 0}
    for seed in range(60):
        test = grouped(seed, 40, 8)
        error = calibration_error(test)
        outside["groups"] += error > calibrated_range(test, draws=200)[1]
        alone = Predictions(test.targets, test.probabilities, test.classes)
        outside["none"] += error > calibrated_range(alone, draws=200)[1]
        classwise = class_calibration(test)["classwise_ece"]
        outside["classes"] += classwise["value"] > classwise["calibrated"]["high"]
        bold = grouped(seed, 40, 8, temperature=0.4)
        outside["overconfident"] += calibration_error(bold) > calibrated_range(bold, draws=200)[1]
    assert outside["none"] >= 8
    assert outside["groups"] <= 6  # P(more | 2.5 %) = 0.1 %
    assert outside["classes"] <= 6
    assert outside["overconfident"] > 45


def test_groups_of_one_image_are_no_groups() -> None:
    test = grouped(0, 150, 1)
    alone = Predictions(test.targets, test.probabilities, test.classes)
    assert calibrated_range(test) == calibrated_range(alone)


def test_copies_count_as_one_image() -> None:
    """Images that are all repeated ten times: the range is about that of the images alone."""
    one = grouped(0, 100, 1)
    rows = np.repeat(np.arange(100), 10)
    copies = one.take(rows)
    low, high = calibrated_range(one)
    assert calibrated_range(copies)[1] == pytest.approx(high, rel=0.15)
    ten = Predictions(copies.targets, copies.probabilities, copies.classes)
    assert calibrated_range(ten)[1] < 0.6 * high
    assert classwise_range(copies).mean[1] == pytest.approx(classwise_range(one).mean[1], rel=0.15)
    assert low < high


def test_two_classes_have_the_same_range() -> None:
    found = classwise_range(grouped(1, 50, 3))
    assert found.classes[0] == pytest.approx(found.classes[1], rel=0.02)
    assert found.mean == pytest.approx(found.classes[0], rel=0.02)
