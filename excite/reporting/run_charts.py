"""The charts of a report, from predictions and the figures of ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from excite.evaluation.abstention import accuracy_by_coverage
from excite.evaluation.decision_curve import decision_curve
from excite.evaluation.predictions import Predictions
from excite.reporting.chart_with_data import Chart, Key, Row
from excite.reporting.curves import precision_recall_points, roc_points, thinned
from excite.reporting.svg import STYLES, Axis, Plot, percent, plain, round_steps
from excite.reporting.tables import figure_text

QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST_CURVES = 6
"""Curves that an eye tells apart; of more classes the worst ones are drawn, the rest pale behind them."""


def kept_epoch(history: pd.DataFrame) -> int:
    """The epoch whose weights were kept: best validation accuracy, of equal ones the lowest loss."""
    order = history.sort_values(["val_accuracy", "val_loss"], ascending=[False, True], kind="stable")
    return int(order["epoch"].iloc[0])


def learning_charts(history: pd.DataFrame) -> list[Chart]:
    """Loss and accuracy over the epochs; none without an epoch."""
    if not len(history):
        return []
    kept = kept_epoch(history)
    epochs = history["epoch"].tolist()
    legend = [
        Key.of("s0", "training, with augmentation"),
        Key.of("s1", "validation, averaged weights"),
        Key.of("mark", f"kept: epoch {kept}"),
    ]
    charts = []
    for name, shown in (("loss", plain), ("accuracy", percent)):
        both = history[[f"train_{name}", f"val_{name}"]].to_numpy(dtype=np.float64)
        finite = both[np.isfinite(both)]
        top = 1.0 if name == "accuracy" else (float(finite.max()) * 1.05 if len(finite) else 1.0) or 1.0
        first, last = epochs[0], max(epochs[-1], epochs[0] + 1)
        x = Axis("epoch", first, last, _whole(first, last))
        plot = Plot(f"learning-{name}", x, Axis(name, 0, top, (), shown), height=240)
        plot.line([(kept, 0), (kept, top)], "mark")
        for column, style in ((0, "s0"), (1, "s1")):
            values = [(x, y) for x, y in zip(epochs, both[:, column], strict=True) if np.isfinite(y)]
            plot.line(values, style)
            at = [y for x, y in values if x == kept]
            if at:
                plot.point(kept, at[0], f"f{column}", f"epoch {kept}: {at[0]:.4g}")
        title = f"{name.capitalize()} while learning"
        told = f"{title} over {len(epochs)} epochs, in training and validation. Epoch {kept} was kept."
        rows = [(epoch, float(row[0]), float(row[1])) for epoch, row in zip(epochs, both, strict=True)]
        columns = ["epoch", f"train_{name}", f"val_{name}"]
        charts.append(Chart(plot.name, title, plot.drawn(title, told), columns, rows, legend))
    return charts


def ranking_charts(predictions: Predictions, classes: Mapping[str, Any], positive: int | None) -> list[Chart]:
    """ROC and precision-recall curves.

    Args:
        classes: figures of each class, for the legends.
        positive: the one class whose curves are drawn; None: each against the rest.
    """
    wanted = range(len(predictions.classes)) if positive is None else [positive]
    kinds = (
        ("roc", "ROC", "auroc", roc_points, "false positive rate (1 - specificity)", "sensitivity"),
        (
            "precision-recall",
            "Precision-recall",
            "average_precision",
            precision_recall_points,
            "sensitivity (recall)",
            "PPV (precision)",
        ),
    )
    charts = []
    for name, called, metric, made, x, y in kinds:
        curves = {
            index: thinned(points) for index in wanted if (points := made(predictions, index)) is not None
        }
        if not curves:
            continue
        areas = {index: classes[predictions.classes[index]][metric] for index in curves}
        worst_first = sorted(curves, key=lambda index: _or_one(areas[index]["value"]))
        drawn = sorted(worst_first[:MOST_CURVES])
        plot = Plot(name, Axis(x, ticks=QUARTERS), Axis(y, ticks=QUARTERS))
        for index in curves:
            if index not in drawn:
                plot.line([(float(a), float(b)) for a, b in curves[index]], "pale")
        short = "AUROC" if metric == "auroc" else "average precision"
        legend = []
        if metric == "auroc":
            plot.line([(0, 0), (1, 1)], "mark")
            legend.append(Key.of("mark", "tossing a coin"))
        elif len(drawn) == 1:
            share = float((predictions.targets == drawn[0]).mean())
            plot.line([(0, share), (1, share)], "mark")
            legend.append(Key.of("mark", f"chance: the share of the class, {share:.3f}"))
        for number, index in enumerate(drawn):
            style = f"s{number % STYLES}"
            plot.line([(float(a), float(b)) for a, b in curves[index]], style)
            legend.append(Key.of(style, f"{predictions.classes[index]}: {short} {figure_text(areas[index])}"))
        notes = []
        if len(curves) > len(drawn):
            legend.append(Key.of("pale", f"{len(curves) - len(drawn)} further classes"))
            notes.append(f"Named are the {len(drawn)} classes of the least {short}; the download has all.")
        if len(curves) < len(wanted):
            missing = len(wanted) - len(curves)
            have = f"{missing} class has" if missing == 1 else f"{missing} classes have"
            notes.append(f"{have} no curve: there are no images of it, or no others.")
        title = f"{called} curve" + (
            f" of {predictions.classes[drawn[0]]}" if len(curves) == 1 else "s, each class against the rest"
        )
        told = f"{title}. " + "; ".join(key.text for key in legend) + "."
        rows: list[Row] = [
            (predictions.classes[index], float(a), float(b))
            for index in (*drawn, *(index for index in curves if index not in drawn))
            for a, b in curves[index]
        ]
        columns = ["class", "false_positive_rate" if metric == "auroc" else "sensitivity"]
        columns.append("sensitivity" if metric == "auroc" else "ppv")
        charts.append(Chart(name, title, plot.drawn(title, told), columns, rows, legend, notes))
    return charts


def reliability_chart(name: str, title: str, bins: Sequence[Mapping[str, Any]]) -> Chart:
    """How many are right among the images of about one confidence; below, how many images those are."""
    axis = Axis("confidence", ticks=QUARTERS, shown=percent)
    plot = Plot(name, axis, Axis("right answers", ticks=QUARTERS, shown=percent), height=340, foot=64)
    plot.line([(0, 0), (1, 1)], "mark")
    most = max(one["n"] for one in bins)
    for one in bins:
        plot.bar(one["above"], one["up_to"], one["n"] / most, _short(one["n"]))
        if one["low"] is not None:
            plot.whisker(one["confidence"], one["low"], one["high"], "s0")
        said = f"{one['n']} images of {one['groups']} groups: confidence {one['confidence']:.1%}, "
        said += f"right {one['accuracy']:.1%}"
        plot.point(one["confidence"], one["accuracy"], "f0", said)
    n = sum(one["n"] for one in bins)
    told = f"{title}: share of right answers in {len(bins)} bins of confidence, {n} images. "
    told += (
        "Honest confidences lie on the diagonal, too sure ones below it. Bars at the foot count the images."
    )
    columns = ["above", "up_to", "n", "groups", "confidence", "accuracy", "low", "high"]
    rows = [[one[column] for column in columns] for one in bins]
    legend = [Key.of("s0", "right answers, with 95 % interval"), Key.of("mark", "honest confidences")]
    return Chart(name, title, plot.drawn(title, told), columns, rows, legend)


def coverage_chart(predictions: Predictions) -> Chart:
    """Accuracy of the answers when the less sure images are left to a person."""
    points = accuracy_by_coverage(predictions)
    lowest = min([0.9] + [point.accuracy if point.low is None else point.low for point in points])
    low = np.floor(10 * lowest) / 10
    x = Axis("images answered, the surest first", ticks=QUARTERS, shown=percent)
    y = Axis("right answers", float(low), 1.0, (), percent)
    plot = Plot("coverage", x, y, height=260)
    plot.band([(p.coverage, p.low, p.high) for p in points if p.low is not None and p.high is not None], "f0")
    plot.line([(p.coverage, p.accuracy) for p in points], "s0")
    title = "Accuracy against coverage"
    told = f"{title}: share of right answers when only the surest images are answered. "
    told += f"All {len(predictions)} images: {points[0].accuracy:.1%}."
    rows = [[p.threshold, p.coverage, p.answered, p.accuracy, p.low, p.high] for p in points]
    columns = ["confidence", "coverage", "answered", "accuracy", "low", "high"]
    legend = [Key.of("s0", "accuracy of the answers, with 95 % interval")]
    return Chart(plot.name, title, plot.drawn(title, told), columns, rows, legend)


def benefit_chart(predictions: Predictions, label: str) -> Chart:
    """The decision curve of acting on one class."""
    curve = decision_curve(predictions, label)
    share = float((predictions.targets == predictions.class_index(label)).mean())
    top = 1.1 * max(share, 0.05, *(high for high in curve.high if high is not None))
    x = Axis("threshold probability", ticks=QUARTERS, shown=percent)
    plot = Plot("decision-curve", x, Axis("net benefit", -0.25 * top, top), height=280)
    floor = plot.y.low
    plot.line([(0, 0), (1, 0)], "s2")
    # A net benefit falls without end where a needless treatment weighs most; the frame cuts it off.
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
    title = f"Decision curve of acting on {label}"
    told = f"{title}: net benefit over threshold probabilities, beside acting on every image and on none."
    legend = [
        Key.of("s0", "acting on the classifier, with 95 % interval"),
        Key.of("s1", "acting on every image"),
        Key.of("s2", "acting on none"),
    ]
    columns = ["threshold", "classifier", "low", "high", "everyone", "none"]
    rows = [
        [*row, 0.0]
        for row in zip(curve.thresholds, curve.model, curve.low, curve.high, curve.everyone, strict=True)
    ]
    return Chart(plot.name, title, plot.drawn(title, told), columns, rows, legend)


def _or_one(value: float | None) -> float:
    return 1.0 if value is None else value


def _whole(first: int, last: int) -> tuple[float, ...]:
    """The first epoch and round numbers after it."""
    return (float(first), *(at for at in round_steps(first, last) if at > first and at == int(at)))


def _short(count: int) -> str:
    """A count in at most four characters: bars are narrow."""
    return str(count) if count < 1000 else f"{count / 1000:.2g}k"
