"""The row of a value has the metrics of its images alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from excite.errors import ExciteError
from excite.evaluation.measure import measure
from excite.evaluation.subgroups import subgroups
from tests.evaluation.simulated import simulate


def test_each_row_is_measured_on_its_own_images() -> None:
    predictions = simulate(np.random.default_rng(0), 100, size=3, alike=1)
    sites = np.where(predictions.group_codes % 10 == 0, "Lagos", "Essen")
    table = subgroups(predictions, sites, name="site", resamples=200)
    json.dumps(table, allow_nan=False)
    assert table["column"] == "site"
    assert [row["value"] for row in table["rows"]] == ["Essen", "Lagos"]  # the largest first
    for row in table["rows"]:
        alone = measure(predictions.take(sites == row["value"]), resamples=200)
        for name in ("n", "groups", "accuracy", "auroc", "log_loss"):
            assert row[name] == alone[name]
        assert row["small"] == (row["groups"] < 20)
    assert [row["small"] for row in table["rows"]] == [False, True]
    assert sum(row["n"] for row in table["rows"]) == len(predictions)


def test_missing_values_are_a_row_of_their_own() -> None:
    predictions = simulate(np.random.default_rng(0), 6)
    values = ["x", "", None, float("nan"), " x ", 3]
    rows = subgroups(predictions, values, resamples=20)["rows"]
    assert {row["value"]: row["n"] for row in rows} == {"(unknown)": 3, "x": 2, "3": 1}


def test_undefined_metrics_of_a_row_have_a_reason() -> None:
    predictions = simulate(np.random.default_rng(0), 60)
    rows = subgroups(predictions, predictions.targets, resamples=50)["rows"]
    assert all(row["auroc"]["reason"] == "all images belong to one class" for row in rows)
    assert all(row["present"] == 1 for row in rows)


def test_columns_unfit_for_subgroups_are_refused() -> None:
    predictions = simulate(np.random.default_rng(0), 60)
    with pytest.raises(ExciteError, match="name: 60 different values are too many for subgroups"):
        subgroups(predictions, list(range(60)), name="name")
    with pytest.raises(ExciteError, match="3 values for 60 images"):
        subgroups(predictions, ["a", "b", "c"])
    with pytest.raises(ExciteError, match="did you mean 'accuracy'"):
        subgroups(predictions, ["a"] * 60, metrics=["acuracy"])
