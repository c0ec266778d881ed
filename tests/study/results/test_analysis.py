"""The mean, deviation, and costs of an arm, from cells whose outcomes are known."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.study.results.analysis import _arm
from tests.study.results.simulated_cells import cells_of, outcomes

ARM = {"baseline": None, "parameters": 10, "multiply_adds": 20}


def test_arms_have_mean_deviation_and_costs() -> None:
    right = outcomes(8, (4, 150))
    found = _arm("one", ARM, cells_of("one", right), 5, "accuracy", False)
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(right.mean())
    assert found.deviation == pytest.approx(right.mean(axis=1).std(ddof=1))
    assert (found.cells, found.planned, found.memory) == (4, 5, 3)
    empty = _arm("two", ARM, [], 5, "accuracy", False)
    assert (empty.estimate, empty.deviation, empty.memory) == (None, None, None)
