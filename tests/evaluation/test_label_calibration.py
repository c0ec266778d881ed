"""Calibration and thresholds of several labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from excite.errors import ExciteError
from excite.evaluation.label_calibration import LabelCalibration, fit_label_calibration
from excite.evaluation.label_predictions import LabelPredictions, read_label_predictions
from excite.evaluation.label_thresholds import choose_label_thresholds
from tests.evaluation.simulated_labels import simulated_labels


def distorted(seed: int = 0, images: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits of labels that are too extreme by a factor and shifted, and the labels."""
    random = np.random.default_rng(seed)
    true = random.normal(size=(images, 2)) - [0, 1.5]
    targets = (random.random(true.shape) < expit(true)).astype(int)
    return true * [3, 1] + [0, 2], targets


def test_it_is_platts_scaling_of_each_label() -> None:
    logits, targets = distorted()
    calibration, held_out = fit_label_calibration(logits, targets, np.arange(len(logits)))
    for label in range(2):
        platt = LogisticRegression(C=np.inf).fit(logits[:, [label]], targets[:, label])
        assert 1 / calibration.temperature[label] == pytest.approx(platt.coef_.item(), rel=0.05)
        assert calibration.intercept[label] == pytest.approx(platt.intercept_.item(), abs=0.1)
    assert np.abs(held_out - calibration.probabilities(logits)).max() < 0.05


def test_unknown_values_take_no_part() -> None:
    logits, targets = distorted(1)
    hidden = targets.copy()
    hidden[:1000, 0] = -1
    found, held_out = fit_label_calibration(logits, hidden, np.arange(len(logits)))
    whole, _ = fit_label_calibration(logits[1000:], targets[1000:], np.arange(len(logits) - 1000))
    assert found.temperature[0] == whole.temperature[0]
    assert np.isfinite(held_out).all()
    hidden[:, 1] = -1
    with pytest.raises(ExciteError, match="unknown for every validation image"):
        fit_label_calibration(logits, hidden, np.arange(len(logits)))


def test_the_inverse_undoes_it() -> None:
    calibration = LabelCalibration((2.0, 0.5), (0.3, -1.0))
    logits = np.random.default_rng(0).normal(size=(20, 2))
    predictions = LabelPredictions(np.zeros((20, 2), int), calibration.probabilities(logits), ("a", "b"))
    assert calibration.inverse.apply(predictions).probabilities == pytest.approx(expit(logits))
    assert LabelCalibration.from_dict(calibration.to_dict()) == calibration


def test_no_threshold_has_a_higher_f1() -> None:
    predictions = simulated_labels(1)
    for index, chosen in enumerate(choose_label_thresholds(predictions)):
        label = predictions.of_label(index)
        scores = label.probabilities[:, 1]
        best = max(f1_score(label.targets, scores >= each) for each in np.unique(scores))
        assert f1_score(label.targets, scores >= chosen.threshold) == pytest.approx(best)
        assert chosen.criterion == "f1"


def test_required_sensitivity_of_every_label() -> None:
    predictions = simulated_labels(2, groups=400)
    chosen = choose_label_thresholds(predictions, sensitivity=0.9)
    for index, each in enumerate(chosen):
        label = predictions.of_label(index)
        assert each.guaranteed is not None
        assert each.guaranteed >= 0.9 - 1e-9
        assert (label.probabilities[label.targets == 1, 1] >= each.threshold).mean() >= 0.9
    assert [each.threshold for each in choose_label_thresholds(predictions, rule="half")] == [0.5] * 3


def test_a_table_is_read_back(tmp_path: Path) -> None:
    from excite.runs.label_table import label_prediction_rows
    from excite.system.text import csv_text

    predictions = simulated_labels(3, groups=20)
    rows = label_prediction_rows(predictions)
    text = csv_text([list(rows[0]), *(list(row.values()) for row in rows)])
    (tmp_path / "predictions.csv").write_text(text, encoding="utf-8")
    again = read_label_predictions(tmp_path / "predictions.csv")
    assert again.classes == predictions.classes
    assert (again.targets == predictions.targets).all()
    assert (again.probabilities == predictions.probabilities).all()
    assert (again.limits == predictions.limits).all()
    assert (again.group_codes == predictions.group_codes).all()
    assert again.paths == predictions.paths


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": np.full((60, 3), 2)}, "must be 1, 0, or -1"),
        ({"probabilities": np.full((60, 3), np.nan)}, "not between 0 and 1"),
        ({"thresholds": np.array([0.5])}, "one threshold per label"),
    ],
)
def test_invalid_predictions_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    predictions = simulated_labels(3, groups=20)
    with pytest.raises(ExciteError, match=message):
        replace(predictions, **change)
