"""From probabilities to predictions."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from excite.bundle.decision import Decision
from excite.evaluation.decision_rule import DecisionRule
from excite.evaluation.prediction_sets import PredictionSets

CLASSES = ("a", "b", "c")
ROWS = st.lists(st.lists(st.floats(0.001, 1), min_size=3, max_size=3), min_size=1, max_size=5)


@given(ROWS, st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_each_prediction_follows_the_thresholds(
    values: list[list[float]], abstain_below: float, threshold: float, has_point: bool
) -> None:
    rows = np.array(values) / np.array(values).sum(axis=1, keepdims=True)
    point = DecisionRule("b", threshold) if has_point else None
    predictions = Decision(abstain_below, point).predictions([""] * len(rows), rows, CLASSES)
    for prediction, (a, b, c) in zip(predictions, rows.tolist(), strict=True):
        others = "a" if a >= c else "c"
        best = max(zip((a, b, c), (2, 1, 0), CLASSES, strict=True))[2]  # of equal ones, the first
        expected = ("b" if b >= threshold else others) if has_point else best
        assert prediction.label == expected
        assert prediction.probability == prediction.probabilities[expected]
        assert prediction.abstained == (max(a, b, c) < abstain_below)


def test_members_that_predict_another_class_are_counted() -> None:
    members = np.array([[[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]]])
    [one] = Decision().predictions(["x"], members.mean(axis=1), CLASSES, members=members)
    assert one.label == "b"
    assert one.disagreement is not None
    found = (one.disagreement.members, one.disagreement.disagreeing)
    assert found == (3, 2)
    assert (one.disagreement.low, one.disagreement.high) == (0.3, 0.7)


def test_it_is_saved_and_read_back() -> None:
    sets = PredictionSets(9, (0.25, 0.5), (0.0, 4.5))
    for decision in (Decision(), Decision(0.5, DecisionRule("a", 0.1), sets)):
        saved = decision.to_dict()
        assert Decision.from_dict(json.loads(json.dumps(saved))).to_dict() == saved
        assert Decision.from_dict(saved).sets == decision.sets
