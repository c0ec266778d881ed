"""Sentences about operating points and calibration state the numbers that they are given."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from excite.evaluation.calibration import Calibration
from excite.evaluation.operating_point import choose_threshold
from excite.evaluation.predictions import Predictions
from excite.evaluation.reliability import before_and_after
from excite.reporting.decision_text import calibration_text, intercept_text, point_text
from tests.evaluation.simulated import simulate


def positives(count: int) -> Predictions:
    """One negative image, and a number of positive ones."""
    scores = np.linspace(0.1, 0.9, count + 1)
    targets = np.array([0] + [1] * count)
    return Predictions(targets, np.stack([1 - scores, scores], axis=1), ("well", "ill"))


def test_a_reached_level_is_guaranteed() -> None:
    text = point_text(asdict(choose_threshold(positives(19), "ill", sensitivity=0.95)))
    expected = "so that the expected sensitivity on images of new groups is at least 95 %."
    assert text == f"It was chosen on 20 validation images {expected}"


def test_too_few_groups_guarantee_less_and_the_text_names_the_number_that_is_needed() -> None:
    """With ten groups, 10 / 11 = 90.9 % is guaranteed; 95 % takes 19."""
    text = point_text(asdict(choose_threshold(positives(10), "ill", sensitivity=0.95)))
    assert "10 validation groups with this class" in text
    assert "only 90.9 % on images of new groups; 95 % takes 19." in text
    text = point_text(asdict(choose_threshold(positives(10), "ill", sensitivity=1.0)))
    assert text.endswith("; no number of groups guarantees 100 %.")
    text = point_text(asdict(choose_threshold(positives(3), "ill", specificity=0.9)))
    assert "1 validation group without this class" in text


def test_a_temperature_changes_no_predicted_class() -> None:
    calibration = Calibration(2.0, (0.0, 0.0))
    found = before_and_after(simulate(np.random.default_rng(0), 100), calibration)
    text = calibration_text(found, "the test images")
    assert text.startswith("The temperature 2 was fitted on the validation images; on the test images it")
    for name in ("ece", "log_loss"):
        assert f"from {found['before'][name]['value']:.3f} to {found['after'][name]['value']:.3f}" in text
    assert "predicted class" not in text


def test_intercepts_change_predicted_classes_and_the_text_counts_them() -> None:
    predictions, calibration = simulate(np.random.default_rng(0), 100), Calibration(1.0, (0.0, 2.0))
    found = before_and_after(predictions, calibration)
    changed = int((predictions.predicted != calibration.apply(predictions).predicted).sum())
    text = calibration_text(found, "the test images")
    assert "The temperature 1 and an intercept for each class were fitted" in text
    assert f"The intercepts change the predicted class of {changed} images" in text


def test_the_largest_intercepts_are_listed_first() -> None:
    assert intercept_text({"a": 0.0, "b": 0.0}) == ""
    assert intercept_text({"a": 0.1, "b": -2.0, "c": 1.0}, most=2) == "b -2, c +1, and 1 more"
