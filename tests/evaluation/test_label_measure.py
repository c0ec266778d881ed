"""Metrics of several labels equal scikit-learn's, and their intervals know the groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from excite.evaluation.label_measure import AVERAGED, label_reliability, measure_labels
from excite.evaluation.label_predictions import LabelPredictions
from excite.evaluation.measure import measure
from tests.evaluation.simulated_labels import simulated_labels


def figures_of(targets: np.ndarray, scores: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    return {
        "auroc": sk.roc_auc_score(targets, scores),
        "average_precision": sk.average_precision_score(targets, scores),
        "sensitivity": sk.recall_score(targets, predicted),
        "specificity": sk.recall_score(targets, predicted, pos_label=0),
        "ppv": sk.precision_score(targets, predicted),
        "f1": sk.f1_score(targets, predicted),
        "log_loss": sk.log_loss(targets, scores),
        "brier": sk.brier_score_loss(targets, scores),
    }


def test_each_label_is_measured_where_it_is_known() -> None:
    predictions = simulated_labels()
    found = measure_labels(predictions, intervals=False)
    each = []
    for index, name in enumerate(predictions.classes):
        known = predictions.targets[:, index] >= 0
        expected = figures_of(
            predictions.targets[known, index],
            predictions.probabilities[known, index],
            predictions.predicted[known, index],
        )
        row = found["labels"][name]
        assert row["n"] == known.sum()
        assert row["present"] == (predictions.targets[:, index] == 1).sum()
        assert {key: row[key]["value"] for key in expected} == pytest.approx(expected)
        each.append(expected)
    macro = {name: np.mean([one[name] for one in each]) for name in AVERAGED}
    assert {name: found["macro"][name]["value"] for name in AVERAGED} == pytest.approx(macro)
    known = predictions.targets >= 0
    micro = figures_of(
        predictions.targets[known], predictions.probabilities[known], predictions.predicted[known]
    )
    assert {name: found["micro"][name]["value"] for name in micro} == pytest.approx(micro)
    assert found["unknown"] == (~known).sum()


def test_averages_and_whole_images_equal_scikit_learn() -> None:
    predictions = simulated_labels(1, unknown=0)
    found = measure_labels(predictions, intervals=False)
    targets, scores, predicted = predictions.targets, predictions.probabilities, predictions.predicted
    for average in ("macro", "micro"):
        values = {name: found[average][name]["value"] for name in AVERAGED}
        assert values["f1"] == pytest.approx(sk.f1_score(targets, predicted, average=average))
        assert values["auroc"] == pytest.approx(sk.roc_auc_score(targets, scores, average=average))
        expected = sk.average_precision_score(targets, scores, average=average)
        assert values["average_precision"] == pytest.approx(expected)
    assert found["subset_accuracy"]["value"] == pytest.approx(sk.accuracy_score(targets, predicted))
    assert found["hamming_loss"]["value"] == pytest.approx(sk.hamming_loss(targets, predicted))


def test_a_label_has_the_intervals_of_a_problem_of_two_classes() -> None:
    predictions = simulated_labels(2)
    found = measure_labels(predictions)["labels"]["nodule"]
    alone = measure(predictions.of_label(1))
    assert found["auroc"] == alone["classes"]["nodule"]["auroc"]
    assert found["sensitivity"] == alone["classes"]["nodule"]["sensitivity"]
    assert found["log_loss"] == alone["log_loss"]


def bootstrap(predictions: LabelPredictions, name: str, draws: int = 400) -> float:
    """Standard error of a macro average, over resamples of groups."""
    random = np.random.default_rng(0)
    codes = predictions.group_codes
    rows = [np.flatnonzero(codes == code) for code in range(predictions.group_count)]
    values = []
    for _ in range(draws):
        chosen = np.concatenate([rows[code] for code in random.integers(0, len(rows), len(rows))])
        parts = [(predictions.targets[chosen, k], predictions.probabilities[chosen, k]) for k in range(3)]
        score = sk.roc_auc_score if name == "auroc" else sk.log_loss
        values.append(np.mean([score(t[t >= 0], s[t >= 0]) for t, s in parts]))
    return float(np.std(values))


@pytest.mark.parametrize("name", ["auroc", "log_loss"])
def test_intervals_of_macro_averages_are_as_wide_as_the_bootstrap_of_groups(name: str) -> None:
    predictions = simulated_labels(3)
    macro = measure_labels(predictions)["macro"][name]
    half = (macro["high"] - macro["low"]) / 2
    assert half == pytest.approx(1.96 * bootstrap(predictions, name), rel=0.2)


def test_groups_widen_the_intervals() -> None:
    predictions = simulated_labels(4, groups=100, per_group=4)
    copies = replace(  # four identical images per group are one
        predictions,
        targets=np.repeat(predictions.targets[::4], 4, axis=0),
        probabilities=np.repeat(predictions.probabilities[::4], 4, axis=0),
    )
    grouped, alone = measure_labels(copies), measure_labels(replace(copies, groups=None))

    def width(figure: dict[str, Any]) -> float:
        return float(figure["high"] - figure["low"])

    for one, other in (
        (grouped["subset_accuracy"], alone["subset_accuracy"]),
        (grouped["hamming_loss"], alone["hamming_loss"]),
        (grouped["macro"]["auroc"], alone["macro"]["auroc"]),
        (grouped["micro"]["f1"], alone["micro"]["f1"]),
    ):
        assert width(one) > 1.6 * width(other)


def test_labels_without_positive_or_known_values() -> None:
    predictions = simulated_labels(5)
    targets = predictions.targets.copy()
    targets[:, 1], targets[:, 2] = -1, 0
    found = measure_labels(replace(predictions, targets=targets))
    assert found["labels"]["nodule"]["n"] == 0
    assert found["labels"]["effusion"]["auroc"]["value"] is None
    assert found["macro"]["auroc"]["labels"] == 1
    assert found["macro"]["auroc"]["value"] == found["labels"]["mass"]["auroc"]["value"]


def test_bins_of_the_reliability_diagram() -> None:
    predictions = simulated_labels(6, unknown=0)
    rows = label_reliability(predictions)
    flat, present = predictions.probabilities.ravel(), predictions.targets.ravel()
    observed, confidence = (
        [array[(flat >= low / 10) & (flat < (low + 1) / 10)].mean() for low in range(10)]
        for array in (present, flat)
    )
    assert [row["accuracy"] for row in rows] == pytest.approx(observed)
    assert [row["confidence"] for row in rows] == pytest.approx(confidence)
    assert sum(row["n"] for row in rows) == flat.size
