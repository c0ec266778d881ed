"""Accuracy never stands without that of always predicting the most frequent class."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier

from excite.config.train_config import TrainConfig
from excite.evaluation.decision_rule import DecisionRule
from excite.evaluation.measure import measure
from excite.evaluation.predictions import Predictions
from excite.reporting.majority_text import hardly_better, is_hardly_better, majority_text
from excite.reporting.report import report_page
from excite.reporting.run_facts import RunFacts
from excite.reporting.sentences import warnings
from tests.reporting.run_folders import simulated, write_cross_validation, write_run


def predictions(right: float, n: int = 80, fraction: float = 0.525) -> Predictions:
    """Two classes, ``fraction`` of them the second; ``right`` of each class are predicted correctly."""
    targets = (np.arange(n) < fraction * n).astype(int)
    correct = np.empty(n, dtype=bool)
    for label in (0, 1):
        rows = np.flatnonzero(targets == label)
        correct[rows] = np.arange(len(rows)) < right * len(rows)
    first = np.where(correct == (targets == 0), 0.7, 0.3)
    return Predictions(targets, np.stack([first, 1 - first], axis=1), ("ants", "bees"))


def test_it_is_the_accuracy_of_scikit_learns_dummy_classifier() -> None:
    for seed in range(3):
        targets = np.random.default_rng(seed).integers(0, 4, 50)
        rows = np.full((50, 4), 0.25)
        found = measure(Predictions(targets, rows, ("a", "b", "c", "d")))["majority_class"]
        dummy = DummyClassifier(strategy="most_frequent").fit(rows, targets)
        assert found["fraction"] == pytest.approx(dummy.score(rows, targets))
        assert found["label"] == "abcd"[dummy.predict(rows)[0]]
    assert majority_text({"majority_class": {"label": "bees", "fraction": 0.5234}}) == (
        "Always predicting 'bees' would reach 52.3 % accuracy."
    )


def test_a_run_that_is_hardly_better_names_the_way_to_better() -> None:
    weak, good = measure(predictions(0.6)), measure(predictions(0.9))
    assert weak["accuracy"]["low"] < 0.525 < weak["accuracy"]["value"]
    assert (is_hardly_better(weak), is_hardly_better(good)) == (True, False)
    text = hardly_better(weak, TrainConfig(recipe="scratch"), "my photos")
    assert "do not show that the classifier is better than always predicting 'bees'" in text
    assert shlex.split(text.rpartition(": ")[2]) == ["excite", "train", "my photos", "--pretrained"]
    assert "--pretrained" not in hardly_better(weak, TrainConfig(recipe="probe"), "my photos")
    assert hardly_better(good, TrainConfig(recipe="scratch"), "my photos") == ""


def test_with_an_operating_point_the_ranking_is_what_counts() -> None:
    """A high sensitivity costs accuracy, which is then no reason for a warning."""
    config = TrainConfig(recipe="scratch", positive="ants")
    eager = measure(predictions(0.9).with_rule(DecisionRule("ants", 0.0)))
    assert eager["accuracy"]["value"] < eager["majority_class"]["fraction"]
    assert hardly_better(eager, config, "photos") == ""
    assert "better than chance (AUROC)" in hardly_better(measure(predictions(0.52)), config, "photos")


def test_one_class_alone_cannot_be_beaten() -> None:
    assert not is_hardly_better(measure(predictions(0.5, fraction=1.0)))


def test_a_page_says_which_rule_predicts(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert "An image is predicted as" in report_page(run) or "operating_point" not in run.metrics["test"]
    pooled = simulated(("benign", "malignant"), 60, 3)
    thresholds = np.where(pooled.group_codes % 5 == 0, 0.25, 0.75)
    folds = write_cross_validation(
        tmp_path / "folds", pooled=pooled.with_rule(DecisionRule("malignant", thresholds))
    )
    texts = [statement.text for statement in warnings(RunFacts.of(folds))]
    rule = "An image is predicted as malignant from the threshold of its fold up (0.25 to 0.75), and else"
    assert any(text.startswith(rule) for text in texts)
