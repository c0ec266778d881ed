"""The confusion matrix, and the most confident errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from excite.evaluation.predictions import Predictions
from excite.reporting.mistakes import MOST_CLASSES, MOST_PAIRS, confusion_view, worst_mistakes
from excite.reporting.report import report_page
from tests.reporting.pages import Page
from tests.reporting.run_folders import write_run


def test_the_most_confident_errors_come_first_and_one_per_group(tmp_path: Path) -> None:
    sure = np.array([0.9, 0.8, 0.99, 0.7, 0.6])
    table = np.column_stack([sure, 1 - sure])
    groups = np.array(["p", "p", "q", "r", ""], dtype=object)
    names = tuple(f"/data/{name}.png" for name in ("first", "copy", "surest", "right", "least"))
    test = Predictions(np.array([1, 1, 1, 0, 1]), table, ("a", "b"), groups, names)
    run = write_run(tmp_path / "run", ("a", "b"), test=test, positive=False)
    text = Page(report_page(run)).text
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


@pytest.mark.parametrize("classes", [3, MOST_CLASSES + 4])
def test_the_confusion_matrix_is_scikit_learns(classes: int) -> None:
    random = np.random.default_rng(0)
    targets, predicted = random.integers(0, classes, (2, 400))
    names = [f"c{number}" for number in range(classes)]
    counts = confusion_matrix(targets, predicted, labels=range(classes))
    found = confusion_view({"confusion": counts.tolist(), "classes": dict.fromkeys(names)})
    if classes <= MOST_CLASSES:
        assert [[cell["count"] for cell in row["cells"]] for row in found["rows"]] == counts.tolist()
        assert [row["n"] for row in found["rows"]] == counts.sum(axis=1).tolist()
        assert found["picture"] is None
    else:
        assert found["rows"] == []
        assert str(found["picture"]).count('class="square"') == (counts > 0).sum()
    wrong = {
        (names[a], names[b]): int(counts[a, b])
        for a in range(classes)
        for b in range(classes)
        if a != b and counts[a, b]
    }
    assert [count for *_, count, _ in found["pairs"]] == sorted(wrong.values(), reverse=True)[:MOST_PAIRS]
    for label, other, count, percentage in found["pairs"]:
        assert wrong[label, other] == count
        assert percentage == f"{100 * count / counts[names.index(label)].sum():.0f} %"
    assert found["pairs_left"] == max(len(wrong) - MOST_PAIRS, 0)


def test_a_class_without_images_has_a_row_of_zeros() -> None:
    found = confusion_view({"confusion": [[2, 1], [0, 0]], "classes": {"a": None, "b": None}})
    assert [cell["count"] for cell in found["rows"][1]["cells"]] == [0, 0]
    assert found["pairs"] == [("a", "b", 1, "33 %")]


def test_mistakes_without_groups_or_paths_are_numbered_by_confidence() -> None:
    scores = np.array([0.6, 0.9, 0.7, 0.2])
    one = Predictions(np.array([1, 1, 0, 1]), np.stack([scores, 1 - scores], axis=1), ("a", "b"))
    found = worst_mistakes(one)
    assert [row["path"] for row in found["rows"]] == ["image 2", "image 1"]
    assert (found["wrong"], found["groups"], found["root"]) == (2, 2, "")
    assert [row["confidence"] for row in found["rows"]] == ["90.0 %", "60.0 %"]
