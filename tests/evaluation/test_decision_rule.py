"""The rule of an operating point: a threshold decides the predicted class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, matthews_corrcoef

from excite.data.csv_table import read_table
from excite.errors import ExciteError
from excite.evaluation.decision_rule import DecisionRule
from excite.evaluation.folds import pool
from excite.evaluation.matching import mean_of_repeats, shared_images
from excite.evaluation.measure import measure
from excite.evaluation.predictions import Predictions, read_predictions
from excite.runs.prediction_table import prediction_rows
from excite.system.text import csv_text


def drawn(seed: int, images: int = 60, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, classes, images), generator.dirichlet(np.ones(classes), images)


def by_hand(row: np.ndarray, index: int, threshold: float) -> int:
    if row[index] >= threshold:
        return index
    return max((k for k in range(len(row)) if k != index), key=lambda k: (row[k], -k))


@given(st.integers(0, 1000), st.integers(2, 5), st.floats(0, 1.1), st.data())
def test_the_positive_class_from_its_threshold_up_and_else_the_most_probable_other(
    seed: int, classes: int, threshold: float, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, classes - 1))
    _, probabilities = drawn(seed, 20, classes)
    decided = DecisionRule("x", threshold).decide(probabilities, index)
    assert decided.tolist() == [by_hand(row, index, threshold) for row in probabilities]


def test_metrics_of_predicted_classes_follow_the_rule_and_those_of_probabilities_do_not() -> None:
    targets, probabilities = drawn(0)
    plain = Predictions(targets, probabilities, ("a", "b", "c"))
    ruled = plain.with_rule(DecisionRule("b", 0.2))
    predicted = [by_hand(row, 1, 0.2) for row in probabilities]
    before, after = measure(plain), measure(ruled)
    assert after["accuracy"]["value"] == pytest.approx(accuracy_score(targets, predicted))
    assert after["confusion"] == confusion_matrix(targets, predicted).tolist() != before["confusion"]
    assert after["macro_f1"]["value"] == pytest.approx(f1_score(targets, predicted, average="macro"))
    assert after["mcc"]["value"] == pytest.approx(matthews_corrcoef(targets, predicted))
    for name in ("auroc", "average_precision", "log_loss", "brier", "ece", "ece_equal_mass"):
        assert after[name] == before[name]


def test_a_table_keeps_the_rule(tmp_path: Path) -> None:
    targets, probabilities = drawn(1)
    paths = tuple(f"{number}.png" for number in range(len(targets)))
    rule = DecisionRule("b", 0.1 + 0.2)  # not a short decimal
    ruled = Predictions(targets, probabilities, ("a", "b", "c"), paths=paths, rule=rule)
    rows = prediction_rows(ruled)
    file = tmp_path / "predictions.csv"
    file.write_text(csv_text([list(rows[0]), *(list(row.values()) for row in rows)]))
    again = read_predictions(file)
    assert again.predicted.tolist() == ruled.predicted.tolist() != ruled.most_probable.tolist()
    assert read_table(file).frame()["predicted"].tolist() == [("a", "b", "c")[k] for k in ruled.predicted]


@pytest.mark.parametrize(
    ("header", "value", "what"),
    [("threshold:z", "0.5", "z"), ("threshold:a", "high", "row 1: threshold:a is 'high', not a number")],
)
def test_a_threshold_that_means_nothing_is_refused(
    tmp_path: Path, header: str, value: str, what: str
) -> None:
    file = tmp_path / "predictions.csv"
    file.write_text(f"path,label,p:a,p:b,{header}\n1.png,a,0.4,0.6,{value}\n")
    with pytest.raises(ExciteError, match=what):
        read_predictions(file)


def test_each_fold_keeps_its_own_threshold() -> None:
    folds = []
    for number, threshold in enumerate((0.2, 0.7)):
        targets, probabilities = drawn(number, 30)
        paths = tuple(f"{number}-{k}.png" for k in range(30))
        rule = DecisionRule("a", threshold)
        folds.append(Predictions(targets, probabilities, ("a", "b", "c"), paths=paths, rule=rule))
    pooled = pool(folds)
    assert pooled.predicted.tolist() == [*folds[0].predicted, *folds[1].predicted]
    half = pooled.take(np.arange(20, 40))
    assert half.predicted.tolist() == pooled.predicted[20:40].tolist()
    backwards = pooled.take(np.arange(60)[::-1])
    _, matched = shared_images(pooled, backwards)
    assert matched.predicted.tolist() == pooled.predicted.tolist()
    assert mean_of_repeats([pooled, pooled]).rule is None
    with pytest.raises(ExciteError, match="either all folds or none"):
        pool([folds[0], folds[1].with_rule(None)])


def test_copies_of_a_photo_are_decided_together() -> None:
    rows = np.array([[0.1, 0.9], [0.4, 0.6], [0.2, 0.8]])
    ruled = Predictions(
        np.zeros(3, dtype=int),
        rows,
        ("a", "b"),
        photos=np.array(["x", "x", ""]),
        rule=DecisionRule("a", 0.25),
    )
    assert ruled.predicted.tolist() == [1, 0, 1]
    assert ruled.by_photo().predicted.tolist() == [0, 1]  # the mean of the first two is 0.25
