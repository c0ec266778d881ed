"""Abstention against plain counting, binomial tests, and simulation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from excite.errors import ExciteError
from excite.evaluation.abstention import accuracy_by_coverage, choose_confidence, with_abstention
from excite.evaluation.predictions import Predictions
from tests.evaluation.simulated import messy, simulate


@settings(max_examples=60, deadline=None)
@given(images=st.integers(1, 150), levels=st.sampled_from([1, 3, 1000]), seed=st.integers(0, 10_000))
def test_accuracy_by_coverage_is_that_of_the_most_confident_images(
    images: int, levels: int, seed: int
) -> None:
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
@given(images=st.integers(1, 300), levels=st.sampled_from([1, 5, 1000]), seed=st.integers(0, 10_000))
def test_the_confidence_is_the_last_of_a_sequence_of_binomial_tests(
    images: int, levels: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    probabilities, _ = messy(random, images, 3, levels=levels)
    targets = np.where(random.random(images) < 0.93, probabilities.argmax(axis=1), 2)
    predictions = Predictions(targets, probabilities, ("a", "b", "c"))
    for wish in (0.5, 0.8, 0.95):
        expected = None
        fewest = next(n for n in range(1, 100) if wish**n <= 0.1)
        sizes = np.unique(np.geomspace(fewest, images, 20).astype(int)) if images >= fewest else []
        falling = np.sort(predictions.confidences)[::-1]
        for size in sizes:
            threshold = falling[size - 1]
            accepted = predictions.confidences >= threshold
            errors = int((~predictions.correct[accepted]).sum())
            if stats.binomtest(errors, int(accepted.sum()), 1 - wish, "less").pvalue > 0.1:
                break
            expected = threshold
        if expected is None:
            with pytest.raises(
                ExciteError, match=r"do not show that any threshold reaches .*it takes at least"
            ):
                choose_confidence(predictions, wish)
        else:
            assert choose_confidence(predictions, wish) == expected


def test_the_selective_accuracy_on_new_images_is_reached_as_often_as_promised() -> None:
    """At most one set of validation images in ten leads to a threshold that falls short of 90 %."""
    random = np.random.default_rng(0)
    short, found = 0, 0
    for _ in range(300):
        confidence = random.uniform(0.5, 1, 150)
        right = random.random(150) < confidence
        rows = np.stack([confidence, 1 - confidence], axis=1)
        try:
            threshold = choose_confidence(Predictions(np.where(right, 0, 1), rows, ("a", "b")), 0.9)
        except ExciteError:
            continue
        found += 1
        short += (threshold + 1) / 2 < 0.9  # the accuracy above the threshold
    assert found > 50
    assert short <= 42  # P(more | 10 %) = 1.2 %


def test_images_of_a_group_count_as_one_observation() -> None:
    rows = np.stack([np.linspace(0.99, 0.6, 60), np.linspace(0.01, 0.4, 60)], axis=1)
    names = np.repeat(np.arange(20), 3).astype(str)
    alone = Predictions(np.zeros(60, dtype=int), rows, ("a", "b"))
    assert choose_confidence(alone, 0.95) == pytest.approx(0.6)  # 60 without an error; 45 are needed
    grouped = Predictions(np.zeros(60, dtype=int), rows, ("a", "b"), names)
    with pytest.raises(
        ExciteError, match=r"20 validation groups do not show .*it takes at least 45"
    ) as raised:
        choose_confidence(grouped, 0.95)
    assert raised.value.hint == "request at most 89%"
    assert choose_confidence(grouped, 0.89) == pytest.approx(0.6)


@pytest.mark.parametrize("accuracy", [0.0, 1.0, 95.0])
def test_an_accuracy_that_cannot_be_shown_is_refused(accuracy: float) -> None:
    with pytest.raises(ExciteError, match=r"accuracy must be in \(0, 1\), got"):
        choose_confidence(simulate(np.random.default_rng(0), 20), accuracy)


def test_below_the_confidence_the_classifier_abstains() -> None:
    rows = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    result = with_abstention(Predictions(np.array([0, 0, 1]), rows, ("a", "b")), 0.6)
    json.dumps(result, allow_nan=False)
    assert result["answered"] == 2
    assert result["coverage"]["value"] == pytest.approx(2 / 3)
    assert result["accuracy"]["value"] == 0.5
    nobody = with_abstention(Predictions(np.array([0, 0, 1]), rows, ("a", "b")), 1.0)
    assert nobody["accuracy"] == {"value": None, "reason": "no image reaches this confidence"}
