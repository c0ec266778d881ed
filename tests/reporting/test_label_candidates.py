"""Label candidates in the report of a cross-validation."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from excite.errors import ExciteError
from excite.evaluation.predictions import Predictions
from excite.reporting.report import report_page
from tests.reporting.pages import Page
from tests.reporting.run_folders import simulated, write_cross_validation


def test_a_cross_validation_lists_its_candidates_with_thumbnails_only_on_request(tmp_path: Path) -> None:
    right = simulated(("benign", "malignant"), 60, 3)
    targets = np.where(np.arange(180) < 12, 1 - right.targets, right.targets)  # four groups are mislabeled
    flipped = Predictions(
        targets, right.probabilities, right.classes, right.groups, right.paths, right.groups
    )
    run = write_cross_validation(tmp_path / "folds", pooled=flipped)
    page = Page(report_page(run))
    with (run.path / "label_candidates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == run.metrics["label_noise"]["candidates"] > 0
    assert {row["group"] for row in rows} <= {f"test-{number}" for number in range(4)}
    assert (
        f"{len(rows)} of 60 photos {'is a label candidate' if len(rows) == 1 else 'are label candidates'}"
        in page.text
    )
    assert "Candidates need review" in page.text
    for row in rows:
        assert f"{Path(row['path']).name} and 2 more of its photo" in page.text
        assert f"{row['suggested']} {100 * float(row['p_suggested']):.1f} %" in page.text
    assert "img" not in page.tags
    assert "the mean of all 5 models" in page.text
    assert "file not found" in Page(report_page(run, thumbnails=True)).text
    (run.path / "label_candidates.csv").unlink()
    with pytest.raises(ExciteError, match=r"label_candidates\.csv: cannot be read"):
        report_page(run)
