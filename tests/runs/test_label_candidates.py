"""Label candidates of a cross-validation: their table and counts, with one row per photo."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from excite.evaluation.predictions import Predictions
from excite.runs.label_candidates import COLUMNS, FILE, write_candidates
from excite.runs.run import Run


def test_photos_are_the_units_not_their_copies(tmp_path: Path) -> None:
    shares = np.array([0.9, 0.9, 0.2, 0.2, 0.3, 0.3, 0.3, 0.3])
    said = Predictions(
        np.array([0, 0, 0, 0, 1, 1, 1, 1]),
        np.stack([shares, 1 - shares], axis=1),
        ("a", "b"),
        np.array(["m"] * 4 + ["n"] * 4, dtype=object),
        tuple(f"{number}.jpg" for number in range(8)),
        np.array(["m1", "m1", "m2", "m2", "n1", "n1", "n1", "n1"], dtype=object),
    )
    found = write_candidates(Run(tmp_path), said)
    assert (found["unit"], found["units"], found["candidates"]) == ("photos", 3, 1)
    (row,) = csv.DictReader((tmp_path / "label_candidates.csv").open())
    assert (row["group"], row["images"], row["suggested"]) == ("m", "2", "b")
    right = said.take(np.array([0, 1, 4, 5]))
    assert write_candidates(Run(tmp_path), right)["candidates"] == 0
    assert (tmp_path / "label_candidates.csv").read_text().count("\n") == 1  # the columns alone


def test_rows_contain_the_image_and_its_probabilities_in_order_of_the_margin(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    targets = np.repeat([0, 1], 30)
    own = random.uniform(0.7, 0.9, 60)
    own[7], own[40] = 0.05, 0.2  # labels that the classifier contradicts
    shares = np.where(targets == 0, own, 1 - own)
    paths = tuple(f"/x/{number}, odd.jpg" for number in range(60))
    groups = np.array([f"g{number}" for number in range(60)], dtype=object)
    said = Predictions(targets, np.stack([shares, 1 - shares], axis=1), ("no", "yes"), groups, paths)
    found = write_candidates(Run(tmp_path), said)
    table = pd.read_csv(tmp_path / FILE)
    assert tuple(table.columns) == COLUMNS
    assert table["path"].tolist() == ["/x/7, odd.jpg", "/x/40, odd.jpg"]
    assert table["rank"].tolist() == [1, 2]
    assert table["label"].tolist() == ["no", "yes"]
    assert table["suggested"].tolist() == ["yes", "no"]
    np.testing.assert_allclose(table["p_label"], own[[7, 40]])
    np.testing.assert_allclose(table["p_suggested"], 1 - own[[7, 40]])
    np.testing.assert_allclose(table["margin"], table["p_label"] - table["p_suggested"])
    assert table["group"].tolist() == ["g7", "g40"]
    assert (found["unit"], found["units"], found["candidates"]) == ("images", 60, 2)
    # The mean confidence of each class's own images, Northcutt et al. 2021, section 3.1.
    expected = {"no": own[targets == 0].mean(), "yes": own[targets == 1].mean()}
    assert found["thresholds"] == pytest.approx(expected)
    json.dumps(found)


def test_a_class_without_images_has_no_threshold_and_the_document_stays_json(tmp_path: Path) -> None:
    shares = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]])
    names = tuple("wxyz")
    groups = np.array(list(names), dtype=object)
    said = Predictions(np.array([0, 1, 0, 1]), shares, ("a", "b", "empty"), groups, names)
    found = write_candidates(Run(tmp_path), said)
    assert found["thresholds"]["empty"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
