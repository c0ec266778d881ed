"""Predictions as CSV, JSON, or an Excel workbook."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from excite.bundle.prediction import Prediction, PredictionList
from excite.errors import BAD_USAGE, ExciteError
from excite.system.files import write_bytes, write_text
from excite.system.text import csv_text, document_text

SUFFIXES = (".csv", ".json", ".xlsx")


def check_prediction_file(path: Path) -> None:
    """Raises: ExciteError for a name whose ending is no known format, or a format that needs a library."""
    if path.suffix.lower() not in SUFFIXES:
        what = f"the ending {path.suffix!r} is no format" if path.suffix else "the name has no ending"
        hint = "use .csv, .json, or .xlsx"
        raise ExciteError(what, where=path, hint=hint, exit_code=BAD_USAGE)
    if path.suffix.lower() == ".xlsx" and importlib.util.find_spec("openpyxl") is None:
        raise ExciteError("openpyxl is not installed", where=path, hint='pip install "excite[excel]"')
    if path.is_dir():
        raise ExciteError("is a folder", where=path, hint="name a file", exit_code=BAD_USAGE)


def write_predictions(path: Path, predictions: PredictionList) -> None:
    """Write predictions in the format of the file's ending.

    Raises:
        ExciteError: as ``check_prediction_file``; if the file cannot be written.
    """
    check_prediction_file(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        write_text(path, prediction_csv(predictions))
    elif suffix == ".json":
        write_text(path, json.dumps(documents(predictions), indent=2, ensure_ascii=False) + "\n")
    else:
        write_bytes(path, _workbook(predictions.rows()))


def prediction_csv(predictions: PredictionList) -> str:
    """Predictions as CSV; truth values are ``true`` and ``false``, as in JSON."""
    return csv_text(
        [str(value).lower() if isinstance(value, bool) else value for value in row]
        for row in predictions.rows()
    )


def documents(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Predictions as JSON values; of several labels ``labels`` instead of ``label`` and ``probability``."""
    return [
        {
            "path": each.path,
            **(
                {"label": each.label, "probability": each.probability}
                if each.labels is None
                else {"labels": list(each.labels)}
            ),
            **({} if each.abstained is None else {"abstained": each.abstained}),
            "probabilities": dict(each.probabilities),
            **({} if each.thresholds is None else {"thresholds": dict(each.thresholds)}),
            **({} if each.classes_in_set is None else {"set": list(each.classes_in_set)}),
            **({"disagreement": asdict(each.disagreement)} if each.disagreement else {}),
        }
        for each in predictions
    ]


def _workbook(rows: Sequence[Sequence[object]]) -> bytes:
    """An Excel workbook with one sheet. A name that begins with = is text, not a formula."""
    import openpyxl
    from openpyxl.cell import WriteOnlyCell

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("predictions")
    sheet.freeze_panes = "B2"
    for row in rows:
        cells = []
        for value in row:
            cell = WriteOnlyCell(sheet, value=document_text(value) if isinstance(value, str) else value)
            if isinstance(value, str):
                cell.data_type = "s"
            cells.append(cell)
        sheet.append(cells)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()
