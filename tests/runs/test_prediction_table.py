"""Predictions as rows of a table, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from excite.data.manifest import Manifest
from excite.evaluation.predictions import Predictions, read_predictions
from excite.runs.prediction_table import prediction_rows, predictions_of


def manifest() -> Manifest:
    table = pd.DataFrame(
        {
            "path": [f"/x/{row}, a.png" for row in range(4)],
            "label": ["no", "yes", "yes", "no"],
            "group": ["p", "p", "", "q"],
            "photo": ["", "f", "f", ""],
        }
    )
    return Manifest(table, ("no", "yes"))


def test_predictions_have_the_columns_of_the_manifest() -> None:
    probabilities = np.random.default_rng(0).dirichlet([1, 1], 4)
    found = predictions_of(manifest(), probabilities)
    assert found.targets.tolist() == [0, 1, 1, 0]
    assert list(found.paths or ()) == manifest().table["path"].tolist()
    assert list(found.groups if found.groups is not None else ()) == ["p", "p", "", "q"]
    assert list(found.photos if found.photos is not None else ()) == ["", "f", "f", ""]


def test_a_table_is_read_back_as_it_was(tmp_path: Path) -> None:
    one = predictions_of(manifest(), np.random.default_rng(1).dirichlet([1, 1], 4))
    pd.DataFrame(prediction_rows(one)).to_csv(tmp_path / "predictions.csv", index=False)
    again = read_predictions(tmp_path / "predictions.csv")
    assert (again.targets == one.targets).all()
    assert again.probabilities == pytest.approx(one.probabilities, abs=1e-12)
    assert (again.classes, again.paths) == (one.classes, one.paths)
    assert (again.group_codes == one.group_codes).all()
    assert again.group_count == 3


def test_rows_have_the_most_probable_class_and_empty_groups() -> None:
    one = Predictions(np.array([1]), np.array([[0.6, 0.4]]), ("a", "b"), None, ("/x.png",))
    [row] = prediction_rows(one)
    assert row == {
        "path": "/x.png",
        "label": "b",
        "group": "",
        "photo": "",
        "predicted": "a",
        "p:a": 0.6,
        "p:b": 0.4,
    }
