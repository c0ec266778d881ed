"""The charts of explain.html: insertion and deletion, gates by class, AUROC without the object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from excite.explain.faithfulness import Curves
from excite.explain.gate_analysis import SiteReport, class_means
from excite.explain.shortcuts import Measurement, ShortcutReport
from excite.reporting.chart_with_data import Chart, Key
from excite.reporting.svg import Axis, Plot, percent

MOST_CLASSES = 5  # lines of a chart of gates, as in the paper


def curve_charts(curves: Mapping[str, Curves]) -> list[Chart]:
    """Mean insertion and deletion curves of all maps."""
    charts = []
    for kind, action in (("insertion", "inserted into a blurred image"), ("deletion", "replaced by gray")):
        means = {name: getattr(each, kind).mean(axis=0) for name, each in curves.items()}
        steps = len(next(iter(means.values())))
        x = np.linspace(0, 1, steps)
        plot = Plot(f"curve-{kind}", Axis("cells", shown=percent), Axis("mean probability", shown=percent))
        for number, values in enumerate(means.values()):
            plot.line(zip(x, values, strict=True), f"s{number}")
        title = f"{kind.capitalize()}: the highest cells first"
        description = (
            f"Mean probability of the explained class while cells are {action}, for each kind of map."
        )
        charts.append(
            Chart(
                f"curve-{kind}",
                title,
                plot.drawn(title, description),
                ["cells", *means],
                [(float(at), *(float(values[row]) for values in means.values())) for row, at in enumerate(x)],
                [Key.of(f"s{number}", name) for number, name in enumerate(means)],
                [f"Cells are {action}. {_better(kind)}"],
            )
        )
    return charts


def _better(kind: str) -> str:
    return "A higher curve is better." if kind == "insertion" else "A lower curve is better."


def gate_chart(report: SiteReport, targets: np.ndarray, classes: Sequence[str], number: int) -> Chart:
    """The mean gates of up to five classes at one site: the paper's figures 5 to 7.

    Args:
        number: of the site, for the chart's name.
    """
    gates = report.site.gates[0]
    means = class_means(gates, targets)
    shown = dict(list(means.items())[:MOST_CLASSES])
    channels = gates.shape[1]
    top = max(float(gates.max()) * 1.05, 0.1)
    low = min(float(gates.min()), 0.0)
    name = f"gates-{number}"
    plot = Plot(name, Axis("channel", 0, max(channels - 1, 1)), Axis("gate", low, top), height=240)
    for style, values in enumerate(shown.values()):
        plot.line(enumerate(values.tolist()), f"s{style}")
    title = report.site.path
    description = f"Mean gate of each of {channels} channels for {len(shown)} classes at {title}."
    rows = [(k, *(float(values[k]) for values in means.values())) for k in range(channels)]
    names = [classes[label] for label in means]
    note = f"{MOST_CLASSES} of {len(means)} classes are drawn." if len(means) > len(shown) else ""
    legend = [Key.of(f"s{style}", classes[label]) for style, label in enumerate(shown)]
    return Chart(
        name,
        title,
        plot.drawn(title, description),
        ["channel", *names],
        rows,
        legend,
        [note] if note else [],
    )


def shortcut_chart(report: ShortcutReport) -> Chart:
    """The AUROC of each test with its interval, from left to right as in the table."""
    tests = report.tests
    lowest = min([0.4, *((test.auroc.interval.low or 0.4) for test in tests)])
    ticks = tuple(range(1, len(tests) + 1))
    axis = Axis("test, numbered as in the table", 0.5, len(tests) + 0.5, ticks)
    plot = Plot("shortcuts-auroc", axis, Axis("AUROC", lowest, 1.0), height=260)
    plot.line([(0.5, 0.5), (len(tests) + 0.5, 0.5)], "mark")
    for number, test in enumerate(tests, 1):
        style = _style(test)
        if test.auroc.interval.low is not None and test.auroc.interval.high is not None:
            plot.whisker(number, test.auroc.interval.low, test.auroc.interval.high, f"s{style}")
        plot.point(number, test.auroc.value, f"f{style}", f"{test.name}: {test.auroc.value:.3f}")
    title = "What can be told from altered pictures"
    description = (
        "AUROC of a linear classifier on each kind of information, with 95 % intervals; 0.5 is chance."
    )
    legend = [
        Key.of("s0", "the object is visible"),
        Key.of("s1", "without the object"),
        Key.of("mark", "chance"),
    ]
    rows = [
        (test.name, test.source, test.auroc.value, test.auroc.interval.low, test.auroc.interval.high)
        for test in tests
    ]
    columns = ["test", "source", "AUROC", "low", "high"]
    return Chart("shortcuts-auroc", title, plot.drawn(title, description), columns, rows, legend)


def _style(test: Measurement) -> int:
    return 0 if test.shows_object else 1
