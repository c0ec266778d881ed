"""Metrics as tables and lines of text on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from excite.cli.label_output import labels_text
from excite.cli.output import plain_table, print_labeled, print_sentence, print_table
from excite.config.task import MULTILABEL
from excite.system.text import shorter_path

SHOWN = 10
"""Images that the terminal names; files name all."""
MOST_CLASSES = 30
"""Rows of a table of classes; of more classes the worst ones are shown."""
OF_CLASSES = ("sensitivity", "specificity", "ppv", "auroc")


def print_folds(metrics: Mapping[str, Any]) -> None:
    """Print the metrics of each fold and their mean."""
    names = ("accuracy", "balanced_accuracy", "auroc")
    table = plain_table("repeat", "fold", "images", "groups", *names, right=("images", "groups", *names))
    for row in metrics["folds"]:
        counts = (row[name] for name in ("repeat", "fold", "n", "groups"))
        table.add_row(*map(str, counts), *(with_interval({"value": row[name]}) for name in names))
    print_table(table)
    mean = metrics["corrected"]["accuracy"]
    bounds = f"no interval: {mean['reason']}"
    if mean["low"] is not None:
        bounds = f"95 % interval {100 * mean['low']:.1f}-{100 * mean['high']:.1f} "
        bounds += "(corrected: folds share training images)"
    print_sentence(f"one training's accuracy: mean {mean['mean']:.1%} of {mean['values']} folds, {bounds}")


def labels_line(label_noise: Mapping[str, Any]) -> str:
    """The number of label candidates, in one line."""
    units, count = label_noise["units"], label_noise["candidates"]
    if not count:
        return f"none of {units} {label_noise['unit']} looks mislabeled"
    whose = "its label" if count == 1 else "their labels"
    return f"{count} of {units} {label_noise['unit']} to review: {whose} may be wrong (label_candidates.csv)"


def sample_size(figures: Mapping[str, Any], counted: str = "image") -> str:
    """The number of images and groups behind a metric."""
    n, groups = figures["n"], figures["groups"]
    behind = f"1 {counted}" if n == 1 else f"{n:,} {counted}s"
    if groups != n:
        behind += " of 1 group" if groups == 1 else f" of {groups:,} groups"
    return behind


def accuracy_line(figures: Mapping[str, Any], counted: str = "image") -> str:
    """Accuracy with its interval, its sample size, and that of the most frequent class, in one line."""
    behind = sample_size(figures, counted)
    if copies := figures.get("duplicates_in_train"):
        behind += f" ({copies} with a near-duplicate in the training set)"
    if seen := figures.get("seen_in_training"):
        behind += f" ({seen} seen in training)"
    largest = figures["majority_class"]
    return (
        f"accuracy {with_interval(figures['accuracy'], 2)} on {behind}, "
        f"balanced {with_interval(figures['balanced_accuracy'], 2)}, "
        f"log loss {figures['log_loss']['value']:.3f}; always {largest['label']!r} gives "
        f"{largest['fraction']:.2%}"
    )


def with_interval(figure: Mapping[str, Any], digits: int = 1) -> str:
    """A fraction as a percentage with its 95 % interval; a dash if it is undefined."""
    if figure["value"] is None:
        return "-"
    text = f"{figure['value']:.{digits}%}"
    if figure.get("low") is None:
        return text
    return f"{text} ({100 * figure['low']:.{digits}f}-{100 * figure['high']:.{digits}f})"


def ordinal_text(order: Sequence[str], figures: Mapping[str, Any]) -> str:
    """How far the predictions are from the truth in ranks of the ordered classes."""
    from excite.evaluation.metrics import ORDINAL
    from excite.reporting.tables import metric_text

    kappa, error, off = (metric_text(figures[name], name) for name in ORDINAL)
    return (
        f"classes in order: {' < '.join(order)}; quadratic weighted kappa {kappa}, "
        f"mean absolute error {error} ranks, off by one {off}"
    )


def print_classes(figures: Mapping[str, Any], names: Sequence[str] = OF_CLASSES) -> None:
    """Print metrics of each class; of many classes those with the lowest sensitivity."""
    from excite.reporting.tables import worst_first

    table = plain_table("class", "images", *names, right=("images", *names), names=("class",))
    classes = worst_first(figures["classes"], MOST_CLASSES)
    for name, row in classes:
        table.add_row(name, str(row["n"]), *(with_interval(row[figure]) for figure in names))
    print_table(table)
    if len(classes) < len(figures["classes"]):
        count = len(figures["classes"])
        print_sentence(
            f"the {MOST_CLASSES} of {count} classes with the lowest sensitivity; --json prints all"
        )


def print_figures(split: str, figures: dict[str, Any]) -> None:
    """Print the metrics of a set of images."""
    print_labeled(split, accuracy_line(figures))
    if photos := figures.get("photos"):
        text = f"{accuracy_line(photos, 'photo')}; predictions of its copies are averaged"
        print_labeled("by photo", text)
    if (repeats := figures.get("repeats", 1)) > 1:
        print_labeled("", f"mean over {repeats} repeats; classes and subgroups are of the first repeat")
    if order := figures.get("order"):
        print_sentence(ordinal_text(order, figures))
    print_classes(figures)
    rows = [row[name] for row in figures["classes"].values() for name in OF_CLASSES]
    _print_reasons([figures["accuracy"], figures["balanced_accuracy"], *rows])
    _print_calibration(figures)
    _print_decisions(figures)
    for part in figures.get("subgroups", []):
        shown = ("accuracy", "balanced_accuracy", "auroc")
        table = plain_table(
            *[part["column"], "images", "groups", *shown, ""],
            right=("images", "groups", *shown),
            names=(part["column"],),
        )
        for row in part["rows"]:
            cells = (with_interval(row[name]) for name in shown)
            remark = "few groups" if row["small"] else ""
            table.add_row(row["value"], str(row["n"]), str(row["groups"]), *cells, remark)
        print_table(table)
        _print_reasons([row[name] for row in part["rows"] for name in shown])


def _print_calibration(figures: Mapping[str, Any]) -> None:
    """Print the calibration error of the predicted class and of the classes."""
    error, expected = figures["ece"]["value"], figures["ece"]["calibrated"]
    text = f"calibration error {error:.1%} (a calibrated classifier shows "
    text += f"{expected['low']:.1%} to {expected['high']:.1%})"
    if calibration := figures.get("calibration"):
        before = calibration["before"]["ece"]["value"]
        text += f", {before:.1%} before the temperature of {calibration['temperature']:.2f}"
        if any(calibration["intercept"].values()):
            text += " and an intercept for each class"
    print_sentence(text)
    if by_class := figures.get("class_calibration"):
        error = by_class["classwise_ece"]
        expected = error["calibrated"]
        print_sentence(
            f"classwise calibration error {error['value']:.1%} (a calibrated classifier shows "
            f"{expected['low']:.1%} to {expected['high']:.1%})"
        )


def operating_point_text(point: Mapping[str, Any]) -> str:
    """The threshold of the positive class, its sensitivity and specificity, and how it was chosen."""
    from excite.reporting.decision_text import point_text

    chosen, found = point["chosen"], point["test"]
    return (
        f"{chosen['label']} from {chosen['threshold']:.3f}: "
        f"sensitivity {with_interval(found['sensitivity'])}, "
        f"specificity {with_interval(found['specificity'])}. {point_text(chosen)}"
    )


def abstention_text(abstention: Mapping[str, Any]) -> str:
    """Below which confidence the classifier abstains, its coverage, and its selective accuracy."""
    return (
        f"below a confidence of {abstention['threshold']:.3f}: "
        f"coverage {with_interval(abstention['coverage'])}, "
        f"selective accuracy {with_interval(abstention['accuracy'])} on {abstention['answered']} images"
    )


def _print_decisions(figures: Mapping[str, Any]) -> None:
    """Print the operating point, the prediction sets, and the abstention."""
    if point := figures.get("operating_point"):
        print_sentence(operating_point_text(point))
    for row in figures.get("prediction_sets", []):
        print_sentence(
            f"sets at {row['level']:.0%}: {with_interval(row['covered'])} hold the true class, "
            f"mean size {row['mean_size']['value']:.2f}, {row['single']['value']:.1%} with one class"
        )
    if abstention := figures.get("abstention"):
        print_sentence(f"abstains {abstention_text(abstention)}")


def print_seen(figures: Mapping[str, Any]) -> None:
    """Print the images that were seen in training, and the accuracy without them."""
    if not (images := figures.get("seen_images")):
        return
    print_sentence(f"seen in training: {len(images)} of {figures['n']} images{_selected(figures)}")
    for image in images[:SHOWN]:
        path, counterpart = shorter_path(image["path"]), shorter_path(image["counterpart"])
        pair = f"  {path} = {counterpart} ({image['kind']}: {image['evidence']})"
        print_sentence(f"  {path} (the same file)" if path == counterpart else pair)
    if len(images) > SHOWN:
        print_sentence(f"  and {len(images) - SHOWN} more; --json and --out DIR list all")
    rest = figures["without_seen"]
    line = labels_text if rest.get("task") == MULTILABEL else accuracy_line
    text = line(rest) if rest["n"] else "no image is left"
    print_labeled("without", text)


def _selected(figures: Mapping[str, Any]) -> str:
    """How many of the seen images the network was not fitted to."""
    count = figures.get("seen_in_selection")
    return f"; {count} of them only selected the epoch, the calibration, and the thresholds" if count else ""


def _print_reasons(figures: Sequence[Mapping[str, Any]]) -> None:
    """Print why metrics are undefined, or have no interval or a rough one; each reason once."""
    if warnings := [figure["warning"] for figure in figures if "warning" in figure]:
        print_sentence(f"rough interval: {'; '.join(dict.fromkeys(warnings))}")
    missing = [figure for figure in figures if "reason" in figure]
    for start, defined in (("not defined (-)", False), ("no interval", True)):
        reasons = [figure["reason"] for figure in missing if (figure["value"] is not None) == defined]
        if reasons:
            print_sentence(f"{start}: {'; '.join(dict.fromkeys(reasons))}")
