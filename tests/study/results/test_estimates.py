"""Means over cells: by hand, for folds, other splits, and groups of uneven size."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.evaluation.predictions import Predictions
from excite.study.results.estimates import Cell, estimate_of
from tests.study.results.simulated_cells import CLASSES


def uneven(arm: str, seed: int, *, folded: bool) -> list[Cell]:
    """Cells of four seeds with 30 groups of 1 to 30 images, each right or wrong as a whole."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(30), 1 + np.arange(30))
    targets, found = (groups % 2).astype(np.int64), []
    for number in range(4):
        right = random.random(30) < 0.7
        said = np.where(right[groups], targets, 1 - targets)
        for fold in range(3 if folded else 1):
            rows = np.flatnonzero((groups // 2 + number) % 3 == fold) if folded else np.arange(len(groups))
            names, paths = groups[rows].astype(str).astype(object), tuple(f"{row}.png" for row in rows)
            told = Predictions(targets[rows], np.eye(2)[said[rows]] * 0.8 + 0.1, CLASSES, names, paths)
            figures = {"balanced_accuracy": balanced_accuracy_score(targets[rows], said[rows])}
            result = {"figures": figures, "n": len(rows), "train": 2 * len(rows), "memory": 3}
            found.append(Cell(arm, number, fold, result, told))
    return found


@pytest.mark.parametrize("folded", [False, True])
def test_a_mean_is_that_of_the_cells_metrics_also_for_groups_of_uneven_size(folded: bool) -> None:
    one, two = uneven("one", 1, folded=folded), uneven("two", 2, folded=folded)
    means = [np.mean([cell.result["figures"]["balanced_accuracy"] for cell in own]) for own in (one, two)]
    estimates = [estimate_of(own, None, "balanced_accuracy", folded) for own in (one, two)]
    assert [estimate.method for estimate in estimates] == ["crossed"] * 2
    assert [estimate.value for estimate in estimates] == pytest.approx(means, abs=1e-12)
    difference = estimate_of(two, one, "balanced_accuracy", folded)
    assert difference.value == pytest.approx(means[1] - means[0], abs=1e-12)
    assert difference.low is not None
    assert difference.high is not None
    assert difference.low + difference.high == pytest.approx(2 * difference.value)
