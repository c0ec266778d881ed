"""Metrics and predictions of several labels as tables and lines of text on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from excite.cli.output import plain_table, print_labeled, print_line, print_sentence, print_table
from excite.system.progress import LABEL
from excite.system.text import command_line, shorter_path

if TYPE_CHECKING:
    from excite.bundle.prediction import PredictionList
    from excite.runs.run import Run

MOST_LABELS = 30  # rows of a table of labels
MOST_NOTES = 3
COLUMNS = ("auroc", "average_precision", "sensitivity", "specificity", "ppv")


def print_label_result(run: Run) -> None:
    """Print the metrics on the test images, what a reader must know about them, and the next commands."""
    from excite.reporting.label_facts import LabelFacts

    facts, test = LabelFacts.of(run), run.metrics["test"]
    print_line()
    print_labeled("RESULT", labels_text(test))
    _print_labels(test)
    for statement in facts.notes[:MOST_NOTES]:
        print_labeled("note", statement.text)
    image = shorter_path(run.predictions["path"].iloc[0])
    print_line(f"{'run':<{LABEL}}{run.path}")
    print_line(f"{'report':<{LABEL}}{run.path / 'report.html'}")
    print_line(f"{'next':<{LABEL}}{command_line('excite', 'predict', run.path, image)}")


def labels_text(figures: Mapping[str, Any]) -> str:
    """Macro averages with their intervals, and the number of images behind them, in one line."""
    macro, n, groups = figures["macro"], figures["n"], figures["groups"]
    behind = f"{n:,} image{'' if n == 1 else 's'}"
    behind += "" if groups == n else f" of {groups:,} group{'' if groups == 1 else 's'}"
    if copies := figures.get("duplicates_in_train"):
        behind += f" ({copies} with a near-duplicate in the training set)"
    if seen := figures.get("seen_in_training"):
        behind += f" ({seen} seen in training)"
    return (
        f"AUROC {_number(macro['auroc'])}, average precision {_number(macro['average_precision'])}, "
        f"F1 {_number(macro['f1'])}, log loss {_number(macro['log_loss'])}: means over "
        f"{len(figures['labels'])} labels on {behind}"
    )


def print_label_figures(split: str, figures: Mapping[str, Any]) -> None:
    """Print the metrics of a set of images."""
    print_labeled(split, labels_text(figures))
    _print_labels(figures)
    print_sentence(
        f"subset accuracy {_number(figures['subset_accuracy'])}, Hamming loss "
        f"{_number(figures['hamming_loss'])}; over all values (micro): AUROC "
        f"{_number(figures['micro']['auroc'])}, F1 {_number(figures['micro']['f1'])}"
    )
    if unknown := figures["unknown"]:
        total = figures["n"] * len(figures["labels"])
        print_sentence(f"{unknown:,} of {total:,} values are unknown and not evaluated")
    for part in figures.get("subgroups", []):
        names = [name for name in part["rows"][0] if name not in ("value", "n", "groups", "small")]
        table = plain_table(part["column"], "images", "groups", *names, right=("images", "groups", *names))
        for row in part["rows"]:
            cells = (_number(row[name]) for name in names)
            table.add_row(row["value"], str(row["n"]), str(row["groups"]), *cells)
        print_table(table)
    rows = [*figures["macro"].values(), *figures["labels"].values()]
    reasons = [
        each["reason"]
        for row in rows
        for each in (row, *row.values())
        if isinstance(each, Mapping) and "reason" in each
    ]
    for reason in dict.fromkeys(reasons):
        print_sentence(f"not defined, or without an interval: {reason}")


def _print_labels(figures: Mapping[str, Any]) -> None:
    numbers = ("present", "of", *COLUMNS, "threshold")
    table = plain_table("label", *numbers, right=numbers, names=("label",))
    labels = list(figures["labels"].items())
    for name, row in labels[:MOST_LABELS]:
        if not row["n"]:
            table.add_row(name, "0", "0", *["-"] * (len(COLUMNS) + 1))
            continue
        cells = (_number(row[metric], bounds=metric == "auroc") for metric in COLUMNS)
        table.add_row(name, str(row["present"]), str(row["n"]), *cells, f"{row['threshold']:.3f}")
    print_table(table)
    if len(labels) > MOST_LABELS:
        print_sentence(f"{MOST_LABELS} of {len(labels)} labels; --json prints all")


def print_label_predictions(predictions: PredictionList) -> None:
    """Print the labels of each image, or that there is none, and the next one that was not predicted."""
    table = plain_table("image", "labels", "next", names=("image", "labels"))
    for each in predictions:
        chosen, limits = each.labels or (), each.thresholds or {}
        named = ", ".join(f"{name} {each.probabilities[name]:.1%}" for name in chosen)
        others = [name for name in each.probabilities if name not in chosen]
        near = max(others, key=lambda name: each.probabilities[name] - limits.get(name, 0), default=None)
        text = ""
        if near is not None:
            text = f"{near} {each.probabilities[near]:.1%} (from {limits[near]:.1%})"
        table.add_row(each.path, named or "no label", text)
    print_table(table)


def _number(figure: Mapping[str, Any], *, bounds: bool = True) -> str:
    """A metric with its 95 % interval; a dash if it is undefined."""
    if figure["value"] is None:
        return "-"
    text = f"{figure['value']:.3f}"
    if not bounds or figure.get("low") is None:
        return text
    return f"{text} ({figure['low']:.3f}-{figure['high']:.3f})"
