"""The covariance of two areas against DeLong's definition by all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from excite.evaluation.placements import Placements


def brute_covariance(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """DeLong's covariance by its definition: all pairs of a positive and a negative."""
    wins = np.stack(
        [
            (row[positive][:, None] > row[~positive]) + 0.5 * (row[positive][:, None] == row[~positive])
            for row in scores
        ]
    )
    m, n = wins.shape[1:]
    return np.cov(wins.mean(axis=2)) / m + np.cov(wins.mean(axis=1)) / n


@pytest.mark.parametrize("decimals", [1, 12])
def test_delong_is_its_definition(decimals: int) -> None:
    random = np.random.default_rng(0)
    scores, positive = random.random((2, 70)).round(decimals), random.random(70) < 0.4
    placements = Placements.of(scores, positive, np.arange(70))
    areas, covariance = placements.areas, sum(placements.covariances())
    assert areas == pytest.approx([roc_auc_score(positive, row) for row in scores], abs=1e-12)
    # Singleton groups add nothing across the two sides.
    assert covariance == pytest.approx(brute_covariance(scores, positive), abs=1e-12)
