"""Tables of the frequencies of classes and of prediction sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from excite.reporting.tables import Cell, Notes, cell, number_text

MOST_CLASSES = 60  # rows of the table; of more classes those with the largest calibration errors


def calibration_table(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Predicted and observed frequency and calibration error of each class; None if not measured."""
    measured = metrics.get("class_calibration")
    if not measured:
        return None
    notes = Notes()
    intercept = (metrics.get("calibration") or {}).get("intercept", {})
    shifted = any(intercept.values())
    classes = list(measured["classes"].items())
    if len(classes) > MOST_CLASSES:
        classes = sorted(classes, key=lambda item: -item[1]["ece"]["value"])[:MOST_CLASSES]
    rows = [
        {
            "name": name,
            "predicted": f"{100 * row['predicted']['value']:.1f} %",
            "observed": _percent(row["observed"], notes),
            "ece": cell("ece", row["ece"], notes),
            "intercept": f"{intercept[name]:+.3g}" if shifted else "",
        }
        for name, row in classes
    ]
    error = measured["classwise_ece"]
    bounds = error["calibrated"]
    sentence = (
        f"The mean calibration error of the classes is {error['value']:.3f}; {bounds['low']:.3f} to "
        f"{bounds['high']:.3f} is expected of a calibrated classifier."
    )
    if len(measured["classes"]) > len(rows):
        sentence += f" The {len(rows)} classes with the largest errors of {len(measured['classes'])}:"
    return {"rows": rows, "notes": notes.lines, "intercepts": shifted, "sentence": sentence}


def set_table(sets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Coverage and size of the prediction sets, a row for each level."""
    notes = Notes()
    rows = [
        {
            "level": f"{100 * row['level']:g} %",
            "threshold": f"{row['threshold']:.4g}",
            "covered": _percent(row["covered"], notes),
            "size": cell("mean_size", row["mean_size"], notes),
            "single": _percent(row["single"], notes),
        }
        for row in sets
    ]
    return {"rows": rows, "notes": notes.lines, "groups": sets[0]["validation_groups"] if sets else 0}


def _percent(metric: Mapping[str, Any], notes: Notes) -> Cell:
    return cell("coverage", metric, notes) if metric["value"] is not None else Cell(number_text("", None))
