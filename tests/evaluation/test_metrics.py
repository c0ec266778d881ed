"""Metrics against scikit-learn on the same arrays, and against loops that count images one by one."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from excite.errors import ExciteError
from excite.evaluation.measure import measure
from excite.evaluation.metrics import OVERALL, PER_CLASS
from excite.evaluation.predictions import Predictions
from tests.evaluation.simulated import messy

TABLES = {
    "images": st.integers(1, 40),
    "classes": st.integers(1, 6),
    "present": st.integers(1, 6),
    "levels": st.sampled_from([1, 2, 1000]),
    "seed": st.integers(0, 10_000),
}


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def counted(probabilities: np.ndarray, targets: np.ndarray, c: int) -> dict[str, float | None]:
    """Proportions of one class by counting."""
    predicted = [row.index(max(row)) for row in probabilities.tolist()]  # of equals the first
    pairs = [(truth == c, guess == c) for truth, guess in zip(targets.tolist(), predicted, strict=True)]
    tp, fn, fp, tn = (
        pairs.count(one) for one in ((True, True), (True, False), (False, True), (False, False))
    )
    return {
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "ppv": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
    }


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(**TABLES)
def test_every_metric_is_scikit_learns(
    images: int, classes: int, present: int, levels: int, seed: int
) -> None:
    """Few levels of probability make ties; few classes that are present leave some without an image."""
    probabilities, targets = messy(
        np.random.default_rng(seed), images, classes, present=present, levels=levels
    )
    names = tuple(f"class {c}" for c in range(classes))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = measure(Predictions(targets, probabilities, names), intervals=False)
    json.dumps(result, allow_nan=False)  # plain numbers alone
    predicted = probabilities.argmax(axis=1)
    here = np.unique(targets)
    every = list(range(classes))
    expected: dict[str, float] = {
        "accuracy": sk.accuracy_score(targets, predicted),
        "balanced_accuracy": sk.recall_score(
            targets, predicted, labels=here, average="macro", zero_division=0
        ),
        "macro_f1": sk.f1_score(targets, predicted, labels=here, average="macro", zero_division=0),
        "average_precision": np.mean(
            [sk.average_precision_score(targets == c, probabilities[:, c]) for c in here]
        ),
    }
    if classes > 1:
        expected["log_loss"] = sk.log_loss(targets, probabilities, labels=every)
        if len(here) > 1:
            expected["mcc"] = sk.matthews_corrcoef(targets, predicted)
            expected["kappa"] = sk.cohen_kappa_score(targets, predicted, labels=every)
            expected["auroc"] = np.mean([sk.roc_auc_score(targets == c, probabilities[:, c]) for c in here])
        truth = np.eye(classes)[targets]
        expected["brier"] = ((probabilities - truth) ** 2).sum(axis=1).mean() / 2
    for name, value in expected.items():
        assert result[name]["value"] == pytest.approx(value, abs=1e-9), name
    if len(here) == 1:
        for name in ("mcc", "kappa", "auroc"):
            assert result[name] == {"value": None, "reason": "all images belong to one class"}
    assert (np.array(result["confusion"]) == sk.confusion_matrix(targets, predicted, labels=every)).all()
    for c, row in enumerate(result["classes"].values()):
        assert row["n"] == (targets == c).sum()
        figures = dict(counted(probabilities, targets, c))
        if 0 < row["n"] < images:
            positive, scores = targets == c, probabilities[:, c]
            figures["mcc"] = sk.matthews_corrcoef(positive, predicted == c)
            figures["auroc"] = sk.roc_auc_score(positive, scores)
            figures["average_precision"] = sk.average_precision_score(positive, scores)
        for name, known in figures.items():
            assert row[name]["value"] == pytest.approx(known, abs=1e-9), name
        for name in PER_CLASS:
            assert (row[name]["value"] is None) == ("reason" in row[name])


def test_the_brier_score_of_two_classes_is_scikit_learns() -> None:
    probabilities, targets = messy(np.random.default_rng(0), 50, 2)
    result = measure(Predictions(targets, probabilities, ("a", "b")), intervals=False)
    assert result["brier"]["value"] == pytest.approx(
        sk.brier_score_loss(targets, probabilities[:, 1]), abs=1e-12
    )


def test_macro_auroc_is_scikit_learns_one_against_rest() -> None:
    probabilities, targets = messy(np.random.default_rng(0), 200, 4)
    result = measure(Predictions(targets, probabilities, tuple("abcd")), intervals=False)
    assert result["auroc"]["value"] == pytest.approx(
        sk.roc_auc_score(targets, probabilities, multi_class="ovr"), abs=1e-12
    )


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(**TABLES)
def test_intervals_of_any_predictions_are_valid(
    images: int, classes: int, present: int, levels: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    probabilities, targets = messy(random, images, classes, present=present, levels=levels)
    groups = random.integers(0, random.integers(1, images + 1), images).astype(str)
    names = tuple(f"class {c}" for c in range(classes))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = measure(Predictions(targets, probabilities, names, groups), resamples=60)
    json.dumps(result, allow_nan=False)
    assert result["groups"] == len(set(groups))
    rows: list[dict[str, Any]] = [result[name] for name in OVERALL if not name.startswith("ece")]
    rows += [row[name] for row in result["classes"].values() for name in PER_CLASS]
    for row in rows:
        if row["value"] is None:
            assert set(row) == {"value", "reason"}
        elif row["low"] is None:
            assert row["reason"]
        else:
            assert row["low"] <= row["high"]
            assert row["method"] in ("wilson", "score", "t", "jackknife")
            assert row["low"] - 1e-12 <= row["value"] <= row["high"] + 1e-12
            if row["method"] == "wilson":
                assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    for name in ("ece", "ece_equal_mass"):
        assert result[name]["calibrated"]["low"] <= result[name]["calibrated"]["high"]


def test_one_image() -> None:
    result = measure(Predictions(np.array([2]), np.array([[0.2, 0.5, 0.3]]), ("a", "b", "c")))
    assert result["accuracy"]["value"] == 0
    assert result["accuracy"]["high"] == pytest.approx(0.7935, abs=1e-4)  # Wilson: z² / (1 + z²)
    assert result["log_loss"]["value"] == pytest.approx(-math.log(0.3))
    assert result["log_loss"]["low"] is None
    assert result["log_loss"]["reason"] == "1 group is too few; at least 10 are needed"
    assert result["classes"]["a"]["sensitivity"] == {
        "value": None,
        "reason": "no image belongs to this class",
    }
    assert result["classes"]["a"]["ppv"] == {"value": None, "reason": "no image is predicted as this class"}
    assert result["classes"]["a"]["f1"]["reason"] == "no image belongs to this class or is predicted as it"
    assert result["classes"]["c"]["auroc"] == {"value": None, "reason": "every image belongs to this class"}
    assert result["confusion"] == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_a_constant_prediction_has_no_correlation_with_the_truth() -> None:
    result = measure(Predictions(np.array([0, 0, 0, 1]), np.full((4, 2), 0.5), ("a", "b")), intervals=False)
    assert result["confusion"] == [[3, 0], [1, 0]]  # a tie goes to the first class
    assert result["mcc"]["value"] == result["kappa"]["value"] == 0
    assert result["auroc"]["value"] == 0.5


def test_float32_rows_that_sum_to_a_little_more_than_1_are_measured() -> None:
    probabilities = np.array([[np.nextafter(np.float32(1), np.float32(2)), 1e-9]], dtype=np.float32)
    result = measure(Predictions(np.array([0]), probabilities, ("a", "b")), intervals=False)
    assert result["log_loss"]["value"] == 0


def test_the_loss_of_a_confident_error_is_large_but_finite() -> None:
    result = measure(Predictions(np.array([1, 0]), np.eye(2), ("a", "b")), intervals=False)
    assert 30 < result["log_loss"]["value"] < 40


def test_no_images_are_an_error() -> None:
    with pytest.raises(ExciteError, match="at least one image"):
        measure(Predictions(np.empty(0, dtype=int), np.empty((0, 2)), ("a", "b")))
