"""Coverage and size of prediction sets on test images, by counting."""

from __future__ import annotations

import json

import numpy as np
import pytest

from excite.evaluation.prediction_sets import PredictionSets
from excite.evaluation.predictions import Predictions
from excite.evaluation.set_metrics import measure_sets
from tests.evaluation.simulated import simulate


def test_coverage_and_size_are_counted() -> None:
    validation, test = (simulate(np.random.default_rng(k), 120, classes=3, size=2) for k in (0, 1))
    sets = PredictionSets.fit(validation)
    found = measure_sets(test, sets)
    json.dumps(found, allow_nan=False)
    assert [row["level"] for row in found] == [0.8, 0.9, 0.95, 0.99]
    for row in found:
        inside = sets.contains(test.probabilities, row["level"])
        assert row["covered"]["value"] == pytest.approx(inside[np.arange(len(test)), test.targets].mean())
        assert row["mean_size"]["value"] == pytest.approx(inside.sum(axis=1).mean())
        assert row["mean_size"]["low"] <= row["mean_size"]["value"] <= row["mean_size"]["high"]
        assert row["single"]["value"] == pytest.approx((inside.sum(axis=1) == 1).mean())
    few = PredictionSets.fit(
        Predictions(validation.targets[:8], validation.probabilities[:8], ("a", "b", "c"))
    )
    assert [row["level"] for row in measure_sets(test, few)] == [0.8]
