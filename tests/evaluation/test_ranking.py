"""Areas under weights against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from excite.evaluation.ranking import Ranking


def test_areas_under_weights_are_scikit_learns_with_sample_weights() -> None:
    random = np.random.default_rng(0)
    for decimals in (1, 2, 9):
        scores, positive = random.random(80).round(decimals), random.random(80) < 0.3
        codes = random.integers(0, 30, 80)
        weights = random.integers(0, 4, (30, 5)).astype(float)
        areas, precisions = Ranking.of(scores, positive, codes, 30).areas(
            weights, np.bincount(codes[~positive], minlength=30) @ weights
        )
        for column in range(5):
            each = weights[codes, column]
            assert areas[column] == pytest.approx(
                roc_auc_score(positive, scores, sample_weight=each), abs=1e-12
            )
            expected = average_precision_score(positive, scores, sample_weight=each)
            assert precisions[column] == pytest.approx(expected, abs=1e-12)
