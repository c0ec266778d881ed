"""Prediction sets: coverage on new images by simulation, and their sizes by counting."""

from __future__ import annotations

import json

import numpy as np
import pytest

from excite.errors import ExciteError
from excite.evaluation.prediction_sets import PredictionSets
from excite.evaluation.predictions import Predictions
from tests.evaluation.simulated import simulate


@pytest.mark.parametrize("size", [1, 6])
@pytest.mark.parametrize("level", [0.8, 0.9])
def test_new_groups_are_covered_as_often_as_required(level: float, size: int) -> None:
    """Over many validation sets of 39 groups; one image of each new group, as images of one are alike."""
    random = np.random.default_rng(0)
    new = simulate(random, 4000, classes=4, size=size, alike=1.0)
    rows = np.unique(new.group_codes, return_index=True)[1]
    new = new.take(rows)
    covered = []
    for _ in range(300):
        validation = simulate(random, 39, classes=4, size=size, alike=1.0)
        threshold = PredictionSets.fit(validation).threshold(level)
        covered.append((new.probabilities[np.arange(len(new)), new.targets] >= threshold).mean())
    error = np.std(covered) / np.sqrt(len(covered))
    assert np.mean(covered) > level - 3 * error
    if size == 1:  # 40 (1 - level) is whole: the guarantee is exact
        assert np.mean(covered) == pytest.approx(level, abs=4 * error)


def test_a_set_contains_the_classes_above_the_threshold_and_the_most_probable_one() -> None:
    sets = PredictionSets.fit(simulate(np.random.default_rng(0), 100, classes=3))
    rows = np.array([[0.34, 0.33, 0.33], [0.98, 0.01, 0.01]])
    threshold = sets.threshold(0.5)
    assert threshold > 0.34
    assert sets.contains(rows, 0.5).tolist() == [[True, False, False], [True, False, False]]
    low = sets.threshold(0.95)
    expected = rows >= low
    expected[[0, 1], [0, 0]] = True
    assert (sets.contains(rows, 0.95) == expected).all()


def test_a_level_that_needs_more_groups_is_refused_with_their_number() -> None:
    names = np.repeat(np.arange(8), 5).astype(str)
    few = simulate(np.random.default_rng(0), 40).take(np.arange(40))
    sets = PredictionSets.fit(Predictions(few.targets, few.probabilities, few.classes, names))
    assert not sets.allows(0.9)
    with pytest.raises(ExciteError, match=r"level of 0\.9 need 9 validation groups.* has 8") as told:
        sets.threshold(0.9)
    assert told.value.hint == "request at most 0.888"
    assert sets.threshold(0.888) > 0
    for level in (0.0, 1.0, 90.0):
        with pytest.raises(ExciteError, match=r"must be in \(0, 1\)"):
            sets.threshold(level)


def test_a_saved_quantile_function_is_short_and_conservative() -> None:
    validation = simulate(np.random.default_rng(0), 5000, classes=3)
    sets = PredictionSets.fit(validation)
    assert len(sets.probabilities) <= 1000
    again = PredictionSets.from_dict(json.loads(json.dumps(sets.to_dict())))
    assert again == sets
    own = np.sort(validation.probabilities[np.arange(len(validation)), validation.targets])
    for level in (0.8, 0.9, 0.99):
        exact = own[int(np.floor(round((1 - level) * 5001, 6))) - 1]
        assert own[own <= exact][-10] <= sets.threshold(level) <= exact
