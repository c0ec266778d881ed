"""study.html, study.md, and the tables of a study."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.study.results.report import arm_rows, write_study
from excite.study.study import Study
from tests.study.small_study import begun


@pytest.mark.slow
def test_pages_and_tables_agree_with_the_store(done: Study, tmp_path: Path) -> None:
    analysis = write_study(done, tmp_path)
    page, text = (tmp_path / "study.html").read_text(), (tmp_path / "study.md").read_text()
    rows = list(csv.DictReader((tmp_path / "cells.csv").open()))
    assert [row["state"] for row in rows] == ["done"] * 8
    mean = np.mean([float(row["balanced_accuracy"]) for row in rows if row["arm"] == "se"])
    for content in (page, text):
        assert f"{100 * mean:.1f} %" in content
        assert "against plain" in content
        assert not re.search(
            r"\d (ms|s)\b", content
        )  # cells train beside different work: times compare no arms
    assert not [row for row in arm_rows(analysis) if {"step", "seconds"} & set(row)]
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    for name in ("learning-loss", "learning-accuracy", "cells"):
        assert f'id="{name}"' in page
    [pair] = csv.DictReader((tmp_path / "comparisons.csv").open())
    assert ('id="forest"' in page) == (pair["low"] != "")
    gaps = [
        np.mean(
            [
                float(r["balanced_accuracy"]) * s
                for r in rows
                for a, s in (("se", 2), ("plain", -2))
                if r["arm"] == a
            ]
        )
    ]
    assert float(pair["difference"]) == pytest.approx(gaps[0])
    assert [len(look.cells) for look in analysis.looks] == [8]
    assert analysis.done == 8


def test_names_in_a_page_are_escaped_and_a_table_stays_one(data: Path, tmp_path: Path) -> None:
    study = begun(data, tmp_path / "a&b<i>")
    write_study(study)
    page = (study.folder / "study.html").read_text()
    assert "a&amp;b&lt;i&gt;" in page
    assert "<i>" not in page
    assert "No pair of arms has finished cells yet" in page
