"""The decision on several labels, and how its predictions are written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from excite.bundle.decision import decision_of
from excite.bundle.label_decision import LabelDecision
from excite.bundle.prediction_files import documents, prediction_csv
from excite.errors import ExciteError
from excite.serving.drift import Drift

NAMES = ("mass", "nodule")
DECISION = LabelDecision((0.3, 0.6))
ROWS = np.array([[0.3, 0.7], [0.1, 0.5], [0.9, 0.59]])


def test_labels_reach_their_threshold() -> None:
    found = DECISION.predictions(["a.png", "b.png", "c.png"], ROWS, NAMES)
    assert [each.labels for each in found] == [("mass", "nodule"), (), ("mass",)]
    assert [each.label for each in found] == ["mass|nodule", "", "mass"]
    assert decision_of(json.loads(json.dumps(DECISION.to_dict()))) == DECISION
    assert "no label" in repr(found)


def test_documents_and_tables() -> None:
    found = DECISION.predictions(["a.png", "b.png", "c.png"], ROWS, NAMES)
    assert documents(found)[1] == {
        "path": "b.png",
        "labels": [],
        "probabilities": {"mass": 0.1, "nodule": 0.5},
        "thresholds": {"mass": 0.3, "nodule": 0.6},
    }
    lines = prediction_csv(found).splitlines()
    assert lines[:2] == ["path,predicted,p:mass,p:nodule", "a.png,mass|nodule,0.3,0.7"]
    assert [each.path for each in found.by_doubt()] == ["a.png", "c.png", "b.png"]


def test_prediction_sets_are_refused() -> None:
    with pytest.raises(ExciteError, match="prediction sets are for one class per image"):
        DECISION.check_set_level(0.9)


def test_drift_of_labels_is_the_largest_difference_of_a_fraction() -> None:
    reference = {"images": 10, "confidence": 0.5, "class_fractions": [0.5, 0.25]}
    drift = Drift(NAMES, reference, task="multilabel")
    for labels in (["mass", "nodule"], ["mass"], [], ["mass"]):
        drift.add(labels, 0.5)
    assert drift.fractions == [0.75, 0.25]
    assert drift.class_distance == 0.25
