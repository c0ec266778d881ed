"""The metrics of ``metrics.json`` as text and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from excite.evaluation.metrics import ORDINAL, OVERALL, PER_CLASS

PERCENT = frozenset(
    ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv", "coverage", "off_by_one")
)
NAMES = {
    "accuracy": ("accuracy", "fraction of images classified correctly"),
    "balanced_accuracy": ("balanced accuracy", "mean sensitivity of the classes"),
    "macro_f1": ("macro F1", "mean F1 of the classes"),
    "mcc": ("MCC", "correlation of predicted and true classes; 0 is chance, 1 is perfect"),
    "kappa": ("Cohen's κ", "agreement beyond chance"),
    "auroc": ("AUROC", "how often the positive of two images gets the higher probability; 0.5 is chance"),
    "average_precision": (
        "average precision",
        "PPV averaged over thresholds; chance is the prevalence of the class",
    ),
    "log_loss": ("log loss", "in nats; 0 is perfect, confident errors cost most"),
    "brier": ("Brier score", "squared distance between probabilities and truth; 0 is perfect"),
    "ece": ("ECE", "mean gap between confidence and accuracy"),
    "ece_equal_mass": ("ECE, equal mass", "the same, with equally many images in each bin"),
    "quadratic_kappa": (
        "quadratic weighted κ",
        "agreement beyond chance; an error counts by the square of its ranks",
    ),
    "mean_absolute_error": ("mean absolute error", "in ranks of the ordered classes; 0 is perfect"),
    "off_by_one": ("off by one", "fraction of images predicted as a class next to the true one"),
    "sensitivity": ("sensitivity", "fraction of the images of the class that are detected"),
    "specificity": ("specificity", "fraction of the other images that are not assigned to the class"),
    "ppv": ("PPV", "fraction of the images assigned to the class that belong to it"),
    "npv": ("NPV", "fraction of the images not assigned to the class that do not belong to it"),
    "f1": ("F1", "harmonic mean of sensitivity and PPV"),
}
METHODS = {
    "wilson": "Wilson",
    "score": "score",
    "t": "Student's t",
    "jackknife": "jackknife",
    "bca": "bootstrap, BCa",
    "percentile": "bootstrap, percentile",
}
NOT_DEFINED = "not defined"
WARNING = "rough interval"


@dataclass
class Notes:
    """The footnotes of a table: each reason for a missing value once, marked with a letter."""

    reasons: list[str] = field(default_factory=list)

    def mark(self, reason: str) -> str:
        """The letter of a note; equal notes have the same letter."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return letter(self.reasons.index(reason))

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The letter and the text of each note."""
        return [(letter(number), reason) for number, reason in enumerate(self.reasons)]


@dataclass(frozen=True)
class Cell:
    """A metric in a table: value, interval, and the letter of a footnote."""

    value: str
    interval: str = ""
    mark: str = ""


def letter(number: int) -> str:
    """a to z, then aa, ab ..."""
    first, last = divmod(number, 26)
    return (letter(first - 1) if first else "") + chr(ord("a") + last)


def number_text(name: str, value: float | None) -> str:
    """The value of a metric: fractions in percent, others with three decimals."""
    if value is None:
        return NOT_DEFINED
    return f"{100 * value:.1f} %" if name in PERCENT else f"{value:.3f}"


def interval_text(name: str, metric: Mapping[str, Any]) -> str:
    """The interval, or the range expected of a calibrated classifier, or ""."""
    if "calibrated" in metric:
        bounds = metric["calibrated"]
        return f"calibrated: {bounds['low']:.3f} to {bounds['high']:.3f}"
    if metric.get("low") is None or metric.get("high") is None:
        return ""
    if name in PERCENT:
        return f"{100 * metric['low']:.1f} to {100 * metric['high']:.1f} %"
    return f"{metric['low']:.3f} to {metric['high']:.3f}"


def metric_text(metric: Mapping[str, Any], name: str = "") -> str:
    """A metric as text: value and interval, or the reason why it is undefined."""
    if metric["value"] is None:
        return f"{NOT_DEFINED}: {metric['reason']}"
    interval = interval_text(name, metric)
    if interval:
        warning = f"; {WARNING}: {metric['warning']}" if "warning" in metric else ""
        return f"{number_text(name, metric['value'])} ({interval}{warning})"
    return number_text(name, metric["value"]) + (
        f" (no interval: {metric['reason']})" if "reason" in metric else ""
    )


def cell(name: str, metric: Mapping[str, Any], notes: Notes) -> Cell:
    """A metric for a table; warnings, and reasons for missing values, go to the footnotes."""
    if metric["value"] is None:
        return Cell(NOT_DEFINED, "", notes.mark(f"{NOT_DEFINED}: {metric['reason']}"))
    mark = notes.mark(f"no interval: {metric['reason']}") if "reason" in metric else ""
    if "warning" in metric:
        mark = notes.mark(f"{WARNING}: {metric['warning']}")
    return Cell(number_text(name, metric["value"]), interval_text(name, metric), mark)


def overall_table(test: Mapping[str, Any], val: Mapping[str, Any] | None) -> dict[str, Any]:
    """Each overall metric of the test and of the validation images."""
    notes = Notes()
    rows = []
    for name in OVERALL + ORDINAL:
        if name not in test:
            continue
        title, description = NAMES[name]
        method = METHODS.get(test[name].get("method", ""), "")
        other = None if val is None or name not in val else cell(name, val[name], notes)
        rows.append(
            {
                "name": title,
                "description": description,
                "test": cell(name, test[name], notes),
                "val": other,
                "method": method,
            }
        )
    return {"rows": rows, "notes": notes.lines, "val": val is not None}


def class_table(classes: Mapping[str, Any], few: Sequence[str]) -> dict[str, Any]:
    """The metrics of each class; ``few`` lists the classes with few groups."""
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
    """(name, metrics) of each class; of more than ``most`` classes, those with the lowest sensitivity."""
    rows = list(classes.items())
    if len(rows) <= most:
        return rows
    values = [row["sensitivity"]["value"] for _, row in rows]
    order = sorted(range(len(rows)), key=lambda k: 2.0 if values[k] is None else values[k])
    return [rows[number] for number in order[:most]]


def subgroup_table(subgroup: Mapping[str, Any]) -> dict[str, Any]:
    """The table of one column of ``evaluation.subgroups.subgroups``."""
    notes = Notes()
    known = {"value", "n", "groups", "small", "present"}
    metrics = [name for name in (subgroup["rows"][0] if subgroup["rows"] else {}) if name not in known]
    rows = [
        {
            "name": row["value"],
            "n": row["n"],
            "groups": row["groups"],
            "present": row["present"],
            "few": row["small"],
            "cells": [cell(name, row[name], notes) for name in metrics],
        }
        for row in subgroup["rows"]
    ]
    columns = [NAMES[name][0] for name in metrics]
    return {"column": subgroup["column"], "columns": columns, "rows": rows, "notes": notes.lines}


def point_table(chosen: Mapping[str, Any], test: Mapping[str, Any]) -> dict[str, Any]:
    """The operating point: its metrics on the test images."""
    notes = Notes()
    names = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
    rows = [
        {
            "name": NAMES[name][0],
            "description": NAMES[name][1],
            "test": cell(name, test[name], notes),
            "val": Cell(number_text(name, chosen.get(name))) if chosen.get(name) is not None else None,
        }
        for name in names
    ]
    return {"rows": rows, "notes": notes.lines}


def fold_table(folds: Sequence[Mapping[str, Any]], corrected: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of each fold, and their means with the corrected interval."""
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
        Cell(number_text(name, mean["mean"]), interval_text(name, mean))
        if (mean := corrected.get(name))
        else None
        for name in names
    ]
    return {"columns": [NAMES[name][0] for name in names], "rows": rows, "means": means, "any": any(means)}


TILES = ("balanced_accuracy", "auroc", "mcc", "log_loss", "ece")


def tiles(test: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, interval) for the top of the page, below the accuracy."""
    return [
        (NAMES[name][0], number_text(name, test[name]["value"]), interval_text(name, test[name]))
        for name in TILES
        if name in test
    ]
