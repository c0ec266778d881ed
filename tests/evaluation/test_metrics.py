"""Figures against loops that count images one by one, and against scikit-learn."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss

from excite.errors import ExciteError
from excite.evaluation.metrics import classification_metrics


def counted(probabilities: np.ndarray, targets: np.ndarray, classes: int) -> dict[str, Any]:
    """The figures by counting."""
    confusion = [[0] * classes for _ in range(classes)]
    loss = 0.0
    for row, truth in zip(probabilities.tolist(), targets.tolist(), strict=True):
        guess = row.index(max(row))  # of equals the first
        confusion[truth][guess] += 1
        loss -= math.log(max(row[truth], np.finfo(np.float64).eps))
    n = len(targets)
    sensitivities, ppvs, f1s = [], [], []
    for c in range(classes):
        right, truths = confusion[c][c], sum(confusion[c])
        guesses = sum(confusion[t][c] for t in range(classes))
        sensitivities.append(right / truths if truths else None)
        ppvs.append(right / guesses if guesses else None)
        f1s.append(2 * right / (truths + guesses) if truths else None)
    there = [value for value in sensitivities if value is not None]
    return {
        "accuracy": sum(confusion[c][c] for c in range(classes)) / n,
        "balanced_accuracy": sum(there) / len(there),
        "macro_f1": sum(value for value in f1s if value is not None) / len(there),
        "log_loss": loss / n,
        "sensitivity": sensitivities,
        "ppv": ppvs,
        "confusion": confusion,
    }


@settings(max_examples=150, deadline=None)
@given(
    images=st.integers(1, 30),
    classes=st.integers(2, 6),
    present=st.integers(1, 6),
    levels=st.sampled_from([1, 2, 1000]),
    seed=st.integers(0, 10_000),
)
def test_every_figure_is_what_counting_gives(
    images: int, classes: int, present: int, levels: int, seed: int
) -> None:
    """Few levels of probability make ties; few classes that are present leave some without an image."""
    random = np.random.default_rng(seed)
    probabilities = random.integers(1, levels + 1, (images, classes)).astype(np.float64)
    probabilities = (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)
    targets = random.choice(classes, min(present, classes), replace=False)[
        random.integers(0, min(present, classes), images)
    ]
    names = [f"class {c}" for c in range(classes)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody has to read scikit-learn's
        result = classification_metrics(probabilities, targets, names, groups=3)
    expected = counted(probabilities, targets, classes)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss"):
        assert result[name]["value"] == pytest.approx(expected[name], rel=1e-6), name
    assert result["confusion"] == expected["confusion"]
    assert (result["n"], result["groups"]) == (images, 3)
    assert list(result["classes"]) == names
    for c, row in enumerate(result["classes"].values()):
        assert row["n"] == (targets == c).sum()
        assert row["sensitivity"] == pytest.approx(expected["sensitivity"][c])
        assert row["ppv"] == pytest.approx(expected["ppv"][c])
    json.dumps(result)  # plain numbers alone


def test_means_over_classes_are_scikit_learns_over_those_that_occur() -> None:
    random = np.random.default_rng(0)
    probabilities, targets = random.dirichlet(np.ones(5), 100), random.integers(0, 4, 100)
    result = classification_metrics(probabilities, targets, list("abcde"), groups=100)
    guesses = probabilities.argmax(axis=1)
    f1 = f1_score(targets, guesses, labels=range(4), average="macro")
    assert result["macro_f1"]["value"] == pytest.approx(f1)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        balanced = balanced_accuracy_score(targets, guesses)
    assert result["balanced_accuracy"]["value"] == pytest.approx(balanced)
    assert result["log_loss"]["value"] == pytest.approx(log_loss(targets, probabilities, labels=range(5)))


def test_float32_rows_that_sum_to_a_little_more_than_1_are_measured() -> None:
    probabilities = np.array([[np.nextafter(np.float32(1), np.float32(2)), 1e-9]], dtype=np.float32)
    result = classification_metrics(probabilities, np.array([0]), ["a", "b"], groups=1)
    assert result["log_loss"]["value"] == 0


def test_one_image() -> None:
    result = classification_metrics(np.array([[0.2, 0.5, 0.3]]), np.array([2]), ["a", "b", "c"], groups=1)
    assert result["accuracy"]["value"] == result["macro_f1"]["value"] == 0
    assert result["log_loss"]["value"] == pytest.approx(-math.log(0.3))
    assert result["classes"] == {
        "a": {"n": 0, "sensitivity": None, "ppv": None},
        "b": {"n": 0, "sensitivity": None, "ppv": 0.0},
        "c": {"n": 1, "sensitivity": 0.0, "ppv": None},
    }
    assert result["confusion"] == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_a_tie_goes_to_the_first_class() -> None:
    result = classification_metrics(np.full((4, 2), 0.5), np.array([0, 0, 0, 1]), ["a", "b"], groups=4)
    assert result["confusion"] == [[3, 0], [1, 0]]


def test_certainty_in_the_wrong_class_costs_much_but_not_infinitely_much() -> None:
    result = classification_metrics(np.eye(2, dtype=np.float32), np.array([1, 0]), ["a", "b"], groups=2)
    assert 30 < result["log_loss"]["value"] < 40


def test_no_images_are_an_error() -> None:
    with pytest.raises(ExciteError, match="no images to measure on"):
        classification_metrics(np.empty((0, 2)), np.empty(0, dtype=int), ["a", "b"], groups=0)
