"""The charts of a report, drawn from the predictions and from ``metrics.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from excite.evaluation.abstention import accuracy_by_coverage
from excite.evaluation.decision_curve import decision_curve
from excite.evaluation.label_predictions import LabelPredictions
from excite.evaluation.predictions import Predictions
from excite.reporting.chart_with_data import Chart, Key, Row
from excite.reporting.curves import precision_recall_points, roc_points, simplify_line
from excite.reporting.svg import STYLES, Axis, Plot, percent, plain, round_steps
from excite.reporting.tables import metric_text
from excite.reporting.text import many

QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST_CURVES = 6
"""Number of distinguishable curves; of more classes the worst are drawn, the others pale behind them."""


def best_epoch(history: pd.DataFrame, monitor: str) -> int:
    """The epoch whose weights the run uses: best validation accuracy; of equal ones, the lowest loss.

    Args:
        monitor: ``accuracy``, or ``loss``, where the lowest loss comes first.
    """
    by, ascending = ["val_accuracy", "val_loss"], [False, True]
    if monitor == "loss":
        by, ascending = by[::-1], ascending[::-1]
    order = history.sort_values(by, ascending=ascending, kind="stable")
    return int(order["epoch"].iloc[0])


def learning_charts(history: pd.DataFrame, monitor: str) -> list[Chart]:
    """Loss and accuracy over the epochs; no charts without an epoch."""
    if not len(history):
        return []
    best = best_epoch(history, monitor)
    epochs = history["epoch"].tolist()
    legend = [
        Key.of("s0", "training, with augmentation"),
        Key.of("s1", "validation, averaged weights"),
        Key.of("mark", f"best epoch: {best}"),
    ]
    charts = []
    for name, shown in (("loss", plain), ("accuracy", percent)):
        both = history[[f"train_{name}", f"val_{name}"]].to_numpy(dtype=np.float64)
        finite = both[np.isfinite(both)]
        top = 1.0 if name == "accuracy" else (float(finite.max()) * 1.05 if len(finite) else 1.0) or 1.0
        first, last = epochs[0], max(epochs[-1], epochs[0] + 1)
        x = Axis("epoch", first, last, _whole(first, last))
        plot = Plot(f"learning-{name}", x, Axis(name, 0, top, (), shown), height=240)
        plot.line([(best, 0), (best, top)], "mark")
        for column, style in ((0, "s0"), (1, "s1")):
            values = [(x, y) for x, y in zip(epochs, both[:, column], strict=True) if np.isfinite(y)]
            plot.line(values, style)
            at = [y for x, y in values if x == best]
            if at:
                plot.point(best, at[0], f"f{column}", f"epoch {best}: {at[0]:.4g}")
        title = f"{name.capitalize()} during training"
        description = (
            f"{title} over {len(epochs)} epochs, in training and validation. The best epoch is {best}."
        )
        rows = [(epoch, float(row[0]), float(row[1])) for epoch, row in zip(epochs, both, strict=True)]
        columns = ["epoch", f"train_{name}", f"val_{name}"]
        charts.append(Chart(plot.name, title, plot.drawn(title, description), columns, rows, legend))
    return charts


@dataclass(frozen=True)
class _RankingCurve:
    """A kind of curve over all thresholds: its names, its axes, and its points (K, 2)."""

    name: str
    title: str
    metric: str
    metric_title: str
    x: str
    y: str
    columns: tuple[str, str]
    points: Callable[[Predictions, int], np.ndarray | None]


_ROC = _RankingCurve(
    "roc",
    "ROC",
    "auroc",
    "AUROC",
    "false positive rate (1 - specificity)",
    "sensitivity",
    ("false_positive_rate", "sensitivity"),
    roc_points,
)
_PRECISION_RECALL = _RankingCurve(
    "precision-recall",
    "Precision-recall",
    "average_precision",
    "average precision",
    "sensitivity (recall)",
    "PPV (precision)",
    ("sensitivity", "ppv"),
    precision_recall_points,
)


def ranking_charts(predictions: Predictions, classes: Mapping[str, Any], positive: int | None) -> list[Chart]:
    """ROC and precision-recall curves.

    Args:
        classes: metrics of each class, for the legends.
        positive: index of the only class to draw; None: each class against the rest.
    """
    wanted = range(len(predictions.classes)) if positive is None else [positive]
    problems = {predictions.classes[index]: (predictions, index) for index in wanted}
    return _ranking_charts(problems, classes, ("class", "classes"), "each class against the rest")


def label_ranking_charts(predictions: LabelPredictions, labels: Mapping[str, Any]) -> list[Chart]:
    """ROC and precision-recall curves of the labels that are known for some image.

    Args:
        labels: metrics of each label, for the legends.
    """
    known = np.flatnonzero(predictions.known.any(axis=0)).tolist()
    problems = {predictions.classes[index]: (predictions.of_label(index), 1) for index in known}
    return _ranking_charts(problems, labels, ("label", "labels"), "each label")


Problems = Mapping[str, tuple[Predictions, int]]  # name -> predictions, and the index of the positive class


def _ranking_charts(
    problems: Problems, figures: Mapping[str, Any], nouns: tuple[str, str], each: str
) -> list[Chart]:
    charts = (_ranking_chart(curve, problems, figures, nouns, each) for curve in (_ROC, _PRECISION_RECALL))
    return [chart for chart in charts if chart is not None]


def _ranking_chart(
    curve: _RankingCurve, problems: Problems, figures: Mapping[str, Any], nouns: tuple[str, str], each: str
) -> Chart | None:
    """The curves of problems; None if none of them has both positive and negative images."""
    names = list(problems)
    points = {
        index: simplify_line(line)
        for index, problem in enumerate(problems.values())
        if (line := curve.points(*problem)) is not None
    }
    if not points:
        return None
    areas = {index: figures[names[index]][curve.metric] for index in points}
    worst_first = sorted(points, key=lambda index: _or_one(areas[index]["value"]))
    drawn = sorted(worst_first[:MOST_CURVES])
    others = [index for index in points if index not in drawn]
    plot = Plot(curve.name, Axis(curve.x, ticks=QUARTERS), Axis(curve.y, ticks=QUARTERS))
    for index in others:
        plot.line(_pairs(points[index]), "pale")
    legend = _chance_line(plot, curve, [problems[names[index]] for index in drawn])
    for number, index in enumerate(drawn):
        style = f"s{number % STYLES}"
        plot.line(_pairs(points[index]), style)
        legend.append(Key.of(style, f"{names[index]}: {curve.metric_title} {metric_text(areas[index])}"))
    notes = []
    if others:
        legend.append(Key.of("pale", f"{len(others)} other {nouns[1]}"))
        notes.append(
            f"The legend lists the {len(drawn)} {nouns[1]} with the lowest {curve.metric_title}; "
            "the CSV file contains all."
        )
    if missing := len(problems) - len(points):
        counted = many(missing, f"{nouns[0]} has", f"{nouns[1]} have")
        notes.append(f"{counted} no curve: no positive or no negative images.")
    title = f"{curve.title} curve"
    title += f" of {names[drawn[0]]}" if len(points) == 1 else f"s, {each}"
    description = f"{title}. " + "; ".join(key.text for key in legend) + "."
    rows: list[Row] = [(names[index], x, y) for index in (*drawn, *others) for x, y in _pairs(points[index])]
    columns = [nouns[0], *curve.columns]
    return Chart(curve.name, title, plot.drawn(title, description), columns, rows, legend, notes)


def _chance_line(plot: Plot, curve: _RankingCurve, drawn: Sequence[tuple[Predictions, int]]) -> list[Key]:
    """Draw the line of a classifier that guesses, where there is one for all curves; its legend."""
    if curve is _ROC:
        plot.line([(0, 0), (1, 1)], "mark")
        return [Key.of("mark", "chance")]
    if len(drawn) == 1:
        predictions, index = drawn[0]
        prevalence = float((predictions.targets == index).mean())
        plot.line([(0, prevalence), (1, prevalence)], "mark")
        return [Key.of("mark", f"chance: the prevalence, {prevalence:.3f}")]
    return []


def _pairs(points: np.ndarray) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]


def reliability_chart(name: str, title: str, bins: Sequence[Mapping[str, Any]]) -> Chart:
    """Accuracy of the images in each bin of confidence; below it, the number of images in the bin."""
    axis = Axis("confidence", ticks=QUARTERS, shown=percent)
    plot = Plot(name, axis, Axis("accuracy", ticks=QUARTERS, shown=percent), height=340, foot=64)
    plot.line([(0, 0), (1, 1)], "mark")
    most = max(one["n"] for one in bins)
    for one in bins:
        plot.bar(one["above"], one["up_to"], one["n"] / most, _short(one["n"]))
        if one["low"] is not None:
            plot.whisker(one["confidence"], one["low"], one["high"], "s0")
        label = f"{one['n']} images of {one['groups']} groups: confidence {one['confidence']:.1%}, "
        label += f"accuracy {one['accuracy']:.1%}"
        plot.point(one["confidence"], one["accuracy"], "f0", label)
    n = sum(one["n"] for one in bins)
    description = (
        f"{title}: accuracy in {len(bins)} bins of confidence, {n} images. Calibrated confidences lie on "
    )
    description += "the diagonal, overconfident ones below it. The bars at the bottom count the images."
    columns = ["above", "up_to", "n", "groups", "confidence", "accuracy", "low", "high"]
    rows = [[one[column] for column in columns] for one in bins]
    legend = [Key.of("s0", "accuracy, with 95 % interval"), Key.of("mark", "perfect calibration")]
    return Chart(name, title, plot.drawn(title, description), columns, rows, legend)


def coverage_chart(predictions: Predictions) -> Chart:
    """Selective accuracy against coverage: the classifier abstains on the least confident images."""
    points = accuracy_by_coverage(predictions)
    lowest = min([0.9] + [point.accuracy if point.low is None else point.low for point in points])
    low = np.floor(10 * lowest) / 10
    x = Axis("coverage, most confident images first", ticks=QUARTERS, shown=percent)
    y = Axis("selective accuracy", float(low), 1.0, (), percent)
    plot = Plot("coverage", x, y, height=260)
    plot.band([(p.coverage, p.low, p.high) for p in points if p.low is not None and p.high is not None], "f0")
    plot.line([(p.coverage, p.accuracy) for p in points], "s0")
    title = "Accuracy against coverage"
    description = f"{title}: accuracy on the most confident images. "
    description += f"All {len(predictions)} images: {points[0].accuracy:.1%}."
    rows = [[p.threshold, p.coverage, p.answered, p.accuracy, p.low, p.high] for p in points]
    columns = ["confidence", "coverage", "answered", "accuracy", "low", "high"]
    legend = [Key.of("s0", "selective accuracy, with 95 % interval")]
    return Chart(plot.name, title, plot.drawn(title, description), columns, rows, legend)


def benefit_chart(predictions: Predictions, label: str) -> Chart:
    """The decision curve of one class."""
    curve = decision_curve(predictions, label)
    prevalence = float((predictions.targets == predictions.class_index(label)).mean())
    top = 1.1 * max(prevalence, 0.05, *(high for high in curve.high if high is not None))
    x = Axis("threshold probability", ticks=QUARTERS, shown=percent)
    plot = Plot("decision-curve", x, Axis("net benefit", -0.25 * top, top), height=280)
    floor = plot.y.low
    plot.line([(0, 0), (1, 0)], "s2")
    # The net benefit of acting on everyone is unbounded below near a threshold of 1; the frame clips it.
    within = [(x, max(y, 2 * floor)) for x, y in zip(curve.thresholds, curve.everyone, strict=True)]
    plot.line(within, "s1")
    bounds = [
        (x, max(low, 2 * floor), max(high, 2 * floor))
        for x, low, high in zip(curve.thresholds, curve.low, curve.high, strict=True)
        if low is not None and high is not None
    ]
    plot.band(bounds, "f0")
    model = [(x, max(y, 2 * floor)) for x, y in zip(curve.thresholds, curve.model, strict=True)]
    plot.line(model, "s0")
    title = f"Decision curve of {label}"
    description = (
        f"{title}: net benefit against threshold probability, compared with acting on all images or none."
    )
    legend = [
        Key.of("s0", "classifier, with 95 % interval"),
        Key.of("s1", "act on every image"),
        Key.of("s2", "act on none"),
    ]
    columns = ["threshold", "classifier", "low", "high", "everyone", "none"]
    rows = [
        [*row, 0.0]
        for row in zip(curve.thresholds, curve.model, curve.low, curve.high, curve.everyone, strict=True)
    ]
    return Chart(plot.name, title, plot.drawn(title, description), columns, rows, legend)


def _or_one(value: float | None) -> float:
    return 1.0 if value is None else value


def _whole(first: int, last: int) -> tuple[float, ...]:
    """The first epoch and round numbers after it."""
    return (float(first), *(at for at in round_steps(first, last) if at > first and at == int(at)))


def _short(count: int) -> str:
    """A count in at most four characters: bars are narrow."""
    return str(count) if count < 1000 else f"{count / 1000:.2g}k"
