"""Tables of class frequencies and prediction sets."""

from __future__ import annotations

import numpy as np

from excite.evaluation.prediction_sets import PredictionSets
from excite.evaluation.predictions import Predictions
from excite.evaluation.reliability import class_calibration
from excite.evaluation.set_metrics import measure_sets
from excite.reporting.calibration_tables import MOST_CLASSES, calibration_table, set_table
from tests.evaluation.simulated import simulate, softmax


def test_frequencies_are_those_of_the_images() -> None:
    one = simulate(np.random.default_rng(0), 200, classes=3)
    found = calibration_table({"class_calibration": class_calibration(one)})
    assert found is not None
    assert [row["name"] for row in found["rows"]] == ["a", "b", "c"]
    for index, row in enumerate(found["rows"]):
        assert row["predicted"] == f"{100 * one.probabilities[:, index].mean():.1f} %"
        assert row["observed"].value == f"{100 * (one.targets == index).mean():.1f} %"
    assert not found["intercepts"]
    assert calibration_table({}) is None


def test_of_many_classes_those_with_the_largest_errors_are_shown() -> None:
    random, classes = np.random.default_rng(0), MOST_CLASSES + 5
    probabilities = softmax(random.normal(size=(300, classes)))
    names = tuple(f"c{number}" for number in range(classes))
    measured = class_calibration(Predictions(random.integers(0, classes, 300), probabilities, names))
    found = calibration_table({"class_calibration": measured})
    assert found is not None
    errors = {name: row["ece"]["value"] for name, row in measured["classes"].items()}
    expected = sorted(errors, key=lambda name: -errors[name])[:MOST_CLASSES]
    assert [row["name"] for row in found["rows"]] == expected
    assert f"The {MOST_CLASSES} classes with the largest errors of {classes}:" in found["sentence"]


def test_sets_have_a_row_for_each_level() -> None:
    validation, test = (simulate(np.random.default_rng(seed), 200, classes=3) for seed in (0, 1))
    measured = measure_sets(test, PredictionSets.fit(validation))
    found = set_table(measured)
    assert [row["level"] for row in found["rows"]] == [f"{100 * row['level']:g} %" for row in measured]
    assert found["rows"][0]["covered"].value == f"{100 * measured[0]['covered']['value']:.1f} %"
    assert found["groups"] == 200
    assert set_table([])["groups"] == 0
