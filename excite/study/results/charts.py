"""The charts of a study: differences (forest plot), learning curves, and the metric of every cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from excite.evaluation.metrics import LOWER_IS_BETTER
from excite.reporting.chart_with_data import Chart, Key
from excite.reporting.svg import STYLES, Axis, Plot, framed, plain, round_steps
from excite.reporting.tables import NAMES, PERCENT
from excite.reporting.text import many
from excite.study.results.analysis import Analysis
from excite.study.results.comparisons import Comparison
from excite.study.results.estimates import Cell
from excite.study.results.sentences import MINUS, bounds, possible, signed

WIDTH, ROW, SIDE, TOP, BOTTOM = 380, 44, 18, 6, 44  # units, as in reporting.svg: readable on a phone


def forest_chart(analysis: Analysis) -> Chart | None:
    """Forest plot: each difference with its interval; significant ones are filled."""
    known = [
        one for one in analysis.comparisons if one.estimate.low is not None and one.estimate.high is not None
    ]
    if not known:
        return None
    metric = analysis.metric
    scale = 100 if metric in PERCENT else 1
    ends = [possible(end or 0.0, metric) for one in known for end in (one.estimate.low, one.estimate.high)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = 0.08 * (high - low) or 0.01
    low, high = low - room, high + room
    height = TOP + ROW * len(known) + BOTTOM
    right = WIDTH - SIDE

    def across(value: float) -> float:
        return round(SIDE + (value - low) / (high - low) * (right - SIDE), 1)

    parts = []
    foot = TOP + ROW * len(known)
    for tick in round_steps(scale * low, scale * high):
        at = across(tick / scale)
        parts.append(Markup('<path class="grid" d="M{:g} {}V{}"/>').format(at, TOP, foot))
        parts.append(_text("middle", at, foot + 15, plain(tick).replace("-", MINUS)))
    parts.append(Markup('<path class="line zero" d="M{:g} {}V{}"/>').format(across(0), TOP, foot))
    better = "lower is better" if metric in LOWER_IS_BETTER else "higher is better"
    unit = "points" if metric in PERCENT else ""
    label = f"difference in {NAMES[metric][0]}" + (f", {unit}" if unit else "") + f" ({better})"
    parts.append(_text("middle axis", WIDTH / 2, foot + 36, label))
    for number, one in enumerate(known):
        parts += _row(one, TOP + ROW * number, across, metric)
    title = f"Differences in {NAMES[metric][0]} with 95 % intervals"
    description = "; ".join(_said(one, metric) for one in known)
    rows = [
        (
            one.second,
            one.first,
            one.estimate.value,
            one.estimate.low,
            one.estimate.high,
            one.estimate.p,
            one.holm,
            "yes" if one.significant else "no",
        )
        for one in known
    ]
    columns = ["arm", "baseline", "difference", "low", "high", "p", "holm_p", "significant"]
    drawing = framed("forest", title, description, WIDTH, height, parts)
    notes = ["Filled dots are significant differences (Holm's p < 0.05), rings are not significant."]
    return Chart("forest", title, drawing, columns, rows, (), notes)


def _row(one: Comparison, top: float, across: object, metric: str) -> list[Markup]:
    assert callable(across)
    estimate = one.estimate
    assert estimate.low is not None
    assert estimate.high is not None
    at = top + 31
    start, end = (across(possible(value, metric)) for value in (estimate.low, estimate.high))
    middle = across(estimate.value)
    path = f"M{start:g} {at:g}H{end:g}M{start:g} {at - 4:g}v8M{end:g} {at - 4:g}v8"
    style = "f0" if one.significant else "ring s0"
    between = bounds(estimate.low, estimate.high, metric)
    return [
        _text("axis", SIDE, top + 16, _short(f"{one.second} against {one.first}", 36)),
        Markup('<path class="whisker s0" d="{}"/>').format(path),
        Markup('<circle class="{}" cx="{:g}" cy="{:g}" r="5"><title>{}</title></circle>').format(
            style, middle, at, _said(one, metric)
        ),
        _text(
            "end axis", WIDTH - SIDE, top + 16, f"{signed(estimate.value, metric, unit=False)} ({between})"
        ),
    ]


def _said(one: Comparison, metric: str) -> str:
    return f"{one.second} minus {one.first}: {signed(one.estimate.value, metric)}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(style: str, x: float, y: float, text: str) -> Markup:
    return Markup('<text class="{}" x="{:g}" y="{:g}">{}</text>').format(
        style, round(x, 1), round(y, 1), text
    )


def learning_charts(analysis: Analysis) -> list[Chart]:
    """Validation loss and accuracy over the epochs: mean ± standard deviation over the cells of an arm."""
    histories = {
        arm.name: [
            cell.result["history"]
            for cell in analysis.cells
            if cell.arm == arm.name and cell.result["history"]
        ]
        for arm in analysis.arms
    }
    histories = {name: own for name, own in histories.items() if own}
    if not histories:
        return []
    drawn = list(histories)[:STYLES]
    charts = []
    for name in ("loss", "accuracy"):
        curves = {arm: _curve(histories[arm], f"val_{name}") for arm in drawn}
        last = max(len(mean) for mean, _ in curves.values())
        finite = np.concatenate(
            [np.concatenate([mean - spread, mean + spread]) for mean, spread in curves.values()]
        )
        finite = finite[np.isfinite(finite)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        low = max(0.0, low - 0.05 * (high - low))
        high = min(high, 1.0) if name == "accuracy" else high
        x = Axis("epoch", 1, max(last, 2), tuple(t for t in round_steps(1, max(last, 2)) if t == int(t)))
        y = _level_axis(f"validation {name}", low, high if high > low else low + 1, name == "accuracy")
        plot = Plot(f"learning-{name}", x, y, height=280)
        for number, arm in enumerate(drawn):
            mean, spread = curves[arm]
            epochs = range(1, len(mean) + 1)
            plot.band(
                [(e, max(m - s, low), m + s) for e, m, s in zip(epochs, mean, spread, strict=True)],
                f"f{number}",
            )
        for number, arm in enumerate(drawn):
            plot.line(list(enumerate(curves[arm][0].tolist(), start=1)), f"s{number}")
        title = f"Validation {name} during training"
        rows = [
            (arm, epoch, float(m), float(s), len(histories[arm]))
            for arm in drawn
            for epoch, (m, s) in enumerate(zip(*curves[arm], strict=True), start=1)
        ]
        legend = [
            Key.of(f"s{number}", f"{arm} ({many(len(histories[arm]), 'cell')})")
            for number, arm in enumerate(drawn)
        ]
        notes = [f"Only the first {STYLES} arms are drawn."] if len(histories) > STYLES else []
        description = (
            f"{title}: mean over the cells of {', '.join(drawn)}, with a band of one standard deviation."
        )
        columns = ["arm", "epoch", f"val_{name}_mean", "deviation", "cells"]
        charts.append(Chart(plot.name, title, plot.drawn(title, description), columns, rows, legend, notes))
    return charts


def _curve(histories: Sequence[Sequence[dict[str, float]]], column: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the cells, up to the shortest history."""
    epochs = min(len(one) for one in histories)
    table = np.array([[row[column] for row in one[:epochs]] for one in histories], dtype=np.float64)
    return table.mean(axis=0), table.std(axis=0, ddof=1) if len(table) > 1 else np.zeros(epochs)


def cells_chart(analysis: Analysis) -> Chart | None:
    """The metric of every cell, one column per arm; lines join cells of the same seed and fold."""
    metric = analysis.metric
    names = [arm.name for arm in analysis.arms if arm.cells]
    own = {
        name: {
            c.unit: value
            for c in analysis.cells
            if c.arm == name and (value := _value(c, metric)) is not None
        }
        for name in names
    }
    values = [value for cells in own.values() for value in cells.values()]
    if not values:
        return None
    low, high = min(values), max(values)
    room = 0.1 * (high - low) or 0.01
    x = Axis(
        "arm",
        0.4,
        len(names) + 0.6,
        tuple(range(1, len(names) + 1)),
        lambda at: _short(names[int(at) - 1], 10),
    )
    y = _level_axis(NAMES[metric][0], low - room, high + room, metric in PERCENT)
    plot = Plot("cells", x, y, height=280)
    for unit in sorted({cell.unit for cell in analysis.cells}):
        path = [(at, own[name][unit]) for at, name in enumerate(names, start=1) if unit in own[name]]
        plot.line(path, "pale")
    for at, name in enumerate(names, start=1):
        for unit, value in sorted(own[name].items()):
            plot.point(
                at, value, f"f{(at - 1) % STYLES}", f"{name}, seed {unit[0]}, fold {unit[1]}: {value:.4g}"
            )
    title = f"{NAMES[metric][0]} of every cell"
    description = f"{title}; lines join the cells of the same seed and fold."
    rows = [(name, *unit, value) for name in names for unit, value in sorted(own[name].items())]
    notes = ["Lines join cells of the same seed and fold, which share split and initial weights."]
    return Chart(
        "cells", title, plot.drawn(title, description), ["arm", "seed", "fold", metric], rows, (), notes
    )


def _level_axis(name: str, low: float, high: float, in_percent: bool) -> Axis:
    """A vertical axis with the unit in its name: ticks such as "41.5 %" would overlap the name."""
    if not in_percent:
        return Axis(name, low, high)
    return Axis(f"{name}, %", low, high, (), lambda value: plain(100 * value))


def _value(cell: Cell, metric: str) -> float | None:
    value: float | None = cell.result["figures"][metric]
    return value
