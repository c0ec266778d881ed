"""Predictions in files: names are data in each of them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from excite.bundle.prediction import Disagreement, Prediction, PredictionList
from excite.bundle.prediction_files import prediction_csv, write_predictions
from excite.errors import ExciteError

FORMULA = "=HYPERLINK(A1)"


def predictions() -> PredictionList:
    probabilities = {FORMULA: 0.75, "b\x1b,": 0.25}
    one = Prediction("=1+1.png", FORMULA, 0.75, probabilities, abstained=False, classes_in_set=(FORMULA,))
    other = Prediction("two.png", FORMULA, 0.75, probabilities, abstained=True, classes_in_set=())
    return PredictionList([one, other])


def test_a_name_that_looks_like_a_formula_is_text_in_a_workbook(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    write_predictions(tmp_path / "x.xlsx", predictions())
    sheet = openpyxl.load_workbook(tmp_path / "x.xlsx").active
    cells = [cell for row in sheet.iter_rows() for cell in row]
    assert not any(cell.data_type == "f" for cell in cells)
    assert [cell.value for cell in sheet[2]][:4] == ["=1+1.png", FORMULA, 0.75, False]
    assert sheet[3][3].value is True
    assert sheet.max_row == 3


def test_a_workbook_without_its_library_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ExciteError, match=r"openpyxl is not installed \(pip install .excite\[excel\]"):
        write_predictions(tmp_path / "x.xlsx", predictions())
    assert not (tmp_path / "x.xlsx").exists()


def test_csv_is_read_back_exactly() -> None:
    header, one, other = csv.reader(io.StringIO(prediction_csv(predictions())))
    assert header[4:] == [f"p:{FORMULA}", "p:b\x1b,", f"set:{FORMULA}", "set:b\x1b,"]
    assert one == ["=1+1.png", FORMULA, "0.75", "false", "0.75", "0.25", "true", "false"]
    assert other[3] == "true"
    assert other[-2:] == ["false", "false"]


def test_a_table_has_the_members_of_an_ensemble() -> None:
    one = Prediction("x", "a", 0.6, {"a": 0.6, "b": 0.4}, disagreement=Disagreement(5, 1, 0.4, 0.9))
    table = PredictionList([one]).table
    assert table.loc[0, "members":].tolist() == [5, 1, 0.4, 0.9]


def test_the_repr_of_many_predictions_is_short() -> None:
    one = Prediction("folder/" * 20 + "x.png", "cat", 0.9, {"cat": 0.9, "dog": 0.1})
    text = repr(PredictionList([one] * 1000))
    assert len(text.splitlines()) == 12
    assert max(map(len, text.splitlines())) <= 80
    assert "1,000 predictions" in text
    assert "990 more" in text
    assert repr(PredictionList()) == "0 predictions"
