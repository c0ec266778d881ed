"""excite evaluate"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.conftest import Command


def test_evaluate_writes_to_the_requested_folder(
    trained: Path, excite_command: Command, tmp_path: Path
) -> None:
    done = excite_command("evaluate", trained / "run", trained / "pictures", "--out", tmp_path / "out")
    assert "on 60 images" in done.stdout
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())["all"]
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert figures["n"] == len(rows) == 60
    assert sum(row["label"] == row["predicted"] for row in rows) / 60 == pytest.approx(
        figures["accuracy"]["value"]
    )
    assert (tmp_path / "out" / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
