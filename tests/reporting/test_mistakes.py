"""The confusion matrix, and the most confident errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from excite.evaluation.predictions import Predictions
from excite.reporting.report import report_page
from tests.reporting.pages import Page
from tests.reporting.run_folders import write_run


def test_the_surest_mistakes_come_first_and_once_a_group(tmp_path: Path) -> None:
    sure = np.array([0.9, 0.8, 0.99, 0.7, 0.6])
    table = np.column_stack([sure, 1 - sure])
    groups = np.array(["p", "p", "q", "r", ""], dtype=object)
    names = tuple(f"/data/{name}.png" for name in ("first", "copy", "surest", "right", "least"))
    test = Predictions(np.array([1, 1, 1, 0, 1]), table, ("a", "b"), groups, names)
    text = Page(report_page(write_run(tmp_path / "run", ("a", "b"), test=test))).text
    shown = text[text.index("Most confident errors") : text.index("Curves over")]
    assert "4 errors in 3 groups, the most confident of each" in shown
    assert (
        shown.index("surest.png")
        < shown.index("first.png and 1 more of its group")
        < shown.index("least.png")
    )
    assert "copy.png" not in shown
    assert "right.png" not in shown
    assert "a 99.0 % b 1.0 %" in shown
