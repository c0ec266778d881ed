"""Curves of a classifier: areas are scikit-learn's, and simplification is not visible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from excite.evaluation.predictions import Predictions
from excite.reporting.curves import TOLERANCE, precision_recall_points, roc_points, simplify_line
from tests.evaluation.simulated import messy


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 300), st.sampled_from([3, 1000]))
def test_the_areas_of_the_curves_are_scikit_learns(seed: int, images: int, levels: int) -> None:
    probabilities, targets = messy(np.random.default_rng(seed), images, 3, levels=levels)
    predictions = Predictions(targets, probabilities, ("a", "b", "c"))
    for index in range(3):
        positive, scores = targets == index, predictions.probabilities[:, index]
        roc, both = roc_points(predictions, index), precision_recall_points(predictions, index)
        assert (roc is None) == (positive.all() or not positive.any())
        assert (both is None) == (not positive.any())
        if roc is not None:
            assert np.trapezoid(roc[:, 1], roc[:, 0]) == pytest.approx(roc_auc_score(positive, scores))
        if both is not None:
            area = np.trapezoid(both[:, 1], both[:, 0])
            assert area == pytest.approx(average_precision_score(positive, scores))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 400))
def test_simplification_moves_no_point_visibly(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    points = np.column_stack([np.sort(random.random(count)), np.sort(random.random(count))])
    fewer = simplify_line(points)
    assert (fewer[[0, -1]] == points[[0, -1]]).all()
    assert {tuple(point) for point in fewer} <= {tuple(point) for point in points}
    starts, ways = fewer[:-1], np.diff(fewer, axis=0)
    lengths = np.maximum((ways**2).sum(axis=1), 1e-12)
    for point in points:  # brute force: the nearest segment of the simplified line
        along = (((point - starts) * ways).sum(axis=1) / lengths).clip(0, 1)
        nearest = np.hypot(*(point - starts - along[:, None] * ways).T).min()
        assert nearest <= TOLERANCE + 1e-9


def test_a_long_straight_line_becomes_two_points() -> None:
    line = np.linspace(0, 1, 5000)
    assert len(simplify_line(np.column_stack([line, line]))) == 2
