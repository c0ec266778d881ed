"""Figures of ``metrics.json`` as text and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from excite.evaluation.metrics import OVERALL, PER_CLASS

PERCENT = frozenset(("accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv", "coverage"))
NAMES = {
    "accuracy": ("accuracy", "images named rightly"),
    "balanced_accuracy": ("balanced accuracy", "sensitivity averaged over the classes"),
    "macro_f1": ("macro F1", "F1 averaged over the classes"),
    "mcc": ("MCC", "how far answers go with the truth: 1 is all, 0 is guessing"),
    "kappa": ("Cohen's κ", "agreement beyond chance"),
    "auroc": ("AUROC", "of two images, how often the right one gets the higher probability; 0.5 is a coin"),
    "average_precision": ("average precision", "PPV averaged over thresholds; chance is the class's share"),
    "log_loss": ("log loss", "in nats; 0 is perfect, sure mistakes cost most"),
    "brier": ("Brier score", "squared distance of probabilities from the truth; 0 is perfect"),
    "ece": ("ECE", "how far confidence is from how often it is right"),
    "ece_equal_mass": ("ECE, equal mass", "the same with as many images in each bin"),
    "sensitivity": ("sensitivity", "of the images of the class, how many are found"),
    "specificity": ("specificity", "of the others, how many are left in peace"),
    "ppv": ("PPV", "when the class is named, how often it is there"),
    "npv": ("NPV", "when it is not named, how often it is absent"),
    "f1": ("F1", "sensitivity and PPV in one"),
}
METHODS = {
    "wilson": "Wilson",
    "jackknife": "jackknife",
    "bca": "bootstrap, BCa",
    "percentile": "bootstrap, percentile",
}
NOT_DEFINED = "not defined"


@dataclass
class Notes:
    """Why something is not there, each reason said once below a table and marked by a letter in it."""

    reasons: list[str] = field(default_factory=list)

    def mark(self, reason: str) -> str:
        if reason not in self.reasons:
            self.reasons.append(reason)
        return letter(self.reasons.index(reason))

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(letter(number), reason) for number, reason in enumerate(self.reasons)]


@dataclass(frozen=True)
class Cell:
    """A figure in a table: its value, its interval, and the letter of a note."""

    value: str
    interval: str = ""
    mark: str = ""


def letter(number: int) -> str:
    """a to z, then aa, ab ..."""
    first, last = divmod(number, 26)
    return (letter(first - 1) if first else "") + chr(ord("a") + last)


def number_text(name: str, value: float | None) -> str:
    """A figure's value: percent for shares, three decimals else."""
    if value is None:
        return NOT_DEFINED
    return f"{100 * value:.1f} %" if name in PERCENT else f"{value:.3f}"


def interval_text(name: str, figure: Mapping[str, Any]) -> str:
    """The interval, or what a calibrated classifier would show, or ""."""
    if "calibrated" in figure:
        bounds = figure["calibrated"]
        return f"calibrated: {bounds['low']:.3f} to {bounds['high']:.3f}"
    if figure.get("low") is None or figure.get("high") is None:
        return ""
    if name in PERCENT:
        return f"{100 * figure['low']:.1f} to {100 * figure['high']:.1f} %"
    return f"{figure['low']:.3f} to {figure['high']:.3f}"


def figure_text(figure: Mapping[str, Any], name: str = "") -> str:
    """A figure in words: value and interval, or that it is not defined, and why."""
    if figure["value"] is None:
        return f"{NOT_DEFINED}: {figure['reason']}"
    interval = interval_text(name, figure)
    if interval:
        return f"{number_text(name, figure['value'])} ({interval})"
    return number_text(name, figure["value"]) + (
        f" (no interval: {figure['reason']})" if "reason" in figure else ""
    )


def cell(name: str, figure: Mapping[str, Any], notes: Notes) -> Cell:
    """A figure for a table, its reasons among the notes."""
    if figure["value"] is None:
        return Cell(NOT_DEFINED, "", notes.mark(f"{NOT_DEFINED}: {figure['reason']}"))
    mark = notes.mark(f"no interval: {figure['reason']}") if "reason" in figure else ""
    return Cell(number_text(name, figure["value"]), interval_text(name, figure), mark)


def overall_table(test: Mapping[str, Any], val: Mapping[str, Any] | None) -> dict[str, Any]:
    """Each overall figure of the test and of the validation images."""
    notes = Notes()
    rows = []
    for name in OVERALL:
        if name not in test:
            continue
        called, says = NAMES[name]
        method = METHODS.get(test[name].get("method", ""), "")
        other = None if val is None or name not in val else cell(name, val[name], notes)
        rows.append(
            {
                "name": called,
                "says": says,
                "test": cell(name, test[name], notes),
                "val": other,
                "method": method,
            }
        )
    return {"rows": rows, "notes": notes.lines, "val": val is not None}


def class_table(classes: Mapping[str, Any], few: Sequence[str]) -> dict[str, Any]:
    """Each class's figures; ``few`` names those of few groups."""
    notes = Notes()
    rows = [
        {
            "name": label,
            "n": row["n"],
            "groups": row["groups"],
            "few": label in few,
            "cells": [cell(name, row[name], notes) for name in PER_CLASS],
        }
        for label, row in classes.items()
    ]
    return {"columns": [NAMES[name][0] for name in PER_CLASS], "rows": rows, "notes": notes.lines}


def worst_first(classes: Mapping[str, Any], most: int) -> list[tuple[str, Mapping[str, Any]]]:
    """(name, figures) of each class; of more than ``most`` classes, those of the least sensitivity."""
    rows = list(classes.items())
    if len(rows) <= most:
        return rows
    values = [row["sensitivity"]["value"] for _, row in rows]
    order = sorted(range(len(rows)), key=lambda k: 2.0 if values[k] is None else values[k])
    return [rows[number] for number in order[:most]]


def subgroup_table(found: Mapping[str, Any]) -> dict[str, Any]:
    """A table of subgroups as ``evaluation.subgroups`` gives it."""
    notes = Notes()
    known = {"value", "n", "groups", "small", "present"}
    metrics = [name for name in (found["rows"][0] if found["rows"] else {}) if name not in known]
    rows = [
        {
            "name": row["value"],
            "n": row["n"],
            "groups": row["groups"],
            "present": row["present"],
            "few": row["small"],
            "cells": [cell(name, row[name], notes) for name in metrics],
        }
        for row in found["rows"]
    ]
    columns = [NAMES[name][0] for name in metrics]
    return {"column": found["column"], "columns": columns, "rows": rows, "notes": notes.lines}


def point_table(chosen: Mapping[str, Any], test: Mapping[str, Any]) -> dict[str, Any]:
    """The operating point: counts and figures on the test images."""
    notes = Notes()
    names = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
    rows = [
        {
            "name": NAMES[name][0],
            "says": NAMES[name][1],
            "test": cell(name, test[name], notes),
            "val": Cell(number_text(name, chosen.get(name))) if chosen.get(name) is not None else None,
        }
        for name in names
    ]
    return {"rows": rows, "notes": notes.lines}


def fold_table(folds: Sequence[Mapping[str, Any]], corrected: Mapping[str, Any]) -> dict[str, Any]:
    """Each fold's figures, and their means with the corrected interval."""
    names = [name for name in ("accuracy", "balanced_accuracy", "auroc", "log_loss") if name in folds[0]]
    several = len({fold["repeat"] for fold in folds}) > 1
    rows = [
        {
            "name": f"{fold['repeat'] + 1}.{fold['fold'] + 1}" if several else str(fold["fold"] + 1),
            "run": fold["run"],
            "train": fold["train"],
            "n": fold["n"],
            "groups": fold["groups"],
            "cells": [number_text(name, fold[name]) for name in names],
        }
        for fold in folds
    ]
    means = [
        Cell(number_text(name, found["mean"]), interval_text(name, found))
        if (found := corrected.get(name))
        else None
        for name in names
    ]
    return {"columns": [NAMES[name][0] for name in names], "rows": rows, "means": means, "any": any(means)}


TILES = ("balanced_accuracy", "auroc", "mcc", "log_loss", "ece")


def tiles(test: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, interval) for the head of the page; the accuracy stands above them."""
    return [
        (NAMES[name][0], number_text(name, test[name]["value"]), interval_text(name, test[name]))
        for name in TILES
        if name in test
    ]
