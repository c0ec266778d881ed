"""The grid of ``benchmarks/intervals.py grid``: coverage of intervals and false alarms of comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from benchmarks.simulated_predictions import pair, simulate, true_values
from excite.errors import ExciteError
from excite.evaluation.comparison import compare
from excite.evaluation.delong import delong
from excite.evaluation.metric_intervals import ANALYTIC, MetricIntervals
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums

OVERALL = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "macro_f1": "macro F1",
    "mcc": "MCC",
    "kappa": "kappa",
    "auroc": "AUROC",
    "average_precision": "AP",
    "log_loss": "log loss",
    "brier": "Brier",
}
OF_CLASS = {"sensitivity": "sensitivity", "specificity": "specificity", "ppv": "PPV", "npv": "NPV"}
PARTS = ("coverage", "alarms")


@dataclass
class Tally:
    """What happened in the data sets of a cell, for one metric.

    Args:
        hits: intervals that contain the truth, or alarms.
        results: number of data sets with an interval or a p-value.
        warned: how many of these have a warning.
        refused: number of data sets without a result.
    """

    hits: int = 0
    results: int = 0
    warned: int = 0
    refused: int = 0

    def add(self, hit: bool, *, warning: bool) -> None:
        self.hits += hit
        self.results += 1
        self.warned += warning

    def text(self) -> str:
        """Percent of the results; in parentheses if most have a warning, a dash if most are missing."""
        if self.refused > self.results:
            return "-"
        percent = f"{100 * self.hits / self.results:.1f}"
        return f"({percent})" if 2 * self.warned > self.results else percent


def cells() -> Iterator[dict[str, Any]]:
    """The settings of the grid, from 12 images to 1,000 groups, 3 to 50 % of them positive."""
    for groups, positive in product((12, 30, 60, 200, 1000), (0.03, 0.1, 0.2, 0.5)):
        if groups * positive >= 3:
            yield {"groups": groups, "positive": positive}
    for groups, size in product((12, 30, 60, 200), (5, 14)):
        for positive in (0.1, 0.2, 0.5):
            if groups * positive >= 3 and (groups < 200 or size == 5):
                yield {"groups": groups, "positive": positive, "size": size, "alike": 1.2}
    for groups, positive in ((60, 0.2), (60, 0.5), (200, 0.1)):
        yield {"groups": groups, "positive": positive, "alike": 1.2, "uneven": True}
    yield {"groups": 200, "positive": 0.1, "signal": 2.5}
    yield {"groups": 60, "positive": 0.2, "size": 5, "alike": 1.0, "signal": 2.6}
    yield {"groups": 60, "positive": 0.15, "size": 5, "alike": 1.2, "classes": 3, "signal": 2.0}


def title(settings: dict[str, Any]) -> str:
    groups = settings["groups"]
    size = settings.get("size", 1)
    units = f"{groups:,} images" if size == 1 else f"{groups:,} groups of {size}"
    if settings.get("uneven"):
        units = f"{groups:,} groups of 1 to 60"
    classes = f", {settings['classes']} classes" if "classes" in settings else ""
    signal = ", high accuracy" if settings.get("signal", 0) > 2.4 else ""
    return f"{units}, {100 * settings['positive']:g} %{classes}{signal}"


def coverage(settings: dict[str, Any], runs: int, method: str, ungrouped: bool) -> dict[str, Tally]:
    """How many intervals contain the true value. ``ungrouped`` takes every image for its own group."""
    overall, of_class = true_values(settings)
    random = np.random.default_rng(1)
    tallies = {name: Tally() for name in (*OVERALL, *OF_CLASS)}
    for run in range(runs):
        drawn = simulate(random, **settings)
        if ungrouped:
            drawn = Predictions(drawn.targets, drawn.probabilities, drawn.classes)
        table = GroupSums(drawn)
        point = table.point()
        intervals = MetricIntervals([drawn], [table], [point], method=method, resamples=1000, seed=run)
        last = len(drawn.classes) - 1
        for name, tally in tallies.items():
            value = point.overall[name][0] if name in OVERALL else point.classes[name][last, 0]
            found = None
            if not np.isnan(value):
                found = intervals.overall(name) if name in OVERALL else intervals.of_class(name, last)
            if found is None or found.low is None or found.high is None:
                tally.refused += 1
                continue
            truth = overall[name] if name in OVERALL else of_class[name]
            tally.add(found.low <= truth <= found.high, warning=found.warning is not None)
    return tallies


def alarms(settings: dict[str, Any], runs: int) -> dict[str, Tally]:
    """How many pairs of equally good classifiers are called different at p < 0.05."""
    random = np.random.default_rng(1)
    tallies = {name: Tally() for name in (*OVERALL, "delong")}
    for run in range(runs):
        first, second = pair(random, **settings)
        for name, one in compare(first, second, tuple(OVERALL), resamples=1000, seed=run % 4).items():
            if one.p is None:
                tallies[name].refused += 1
            else:
                tallies[name].add(one.p < 0.05, warning=one.warning is not None)
        try:
            p = delong(first, second, first.classes[-1]).p
        except ExciteError:
            p = None
        if p is None:
            tallies["delong"].refused += 1
        else:
            tallies["delong"].add(p < 0.05, warning=False)
    return tallies


def _row(task: tuple[str, dict[str, Any], int, str, bool]) -> dict[str, Tally]:
    part, settings, runs, method, ungrouped = task
    return coverage(settings, runs, method, ungrouped) if part == "coverage" else alarms(settings, runs)


def print_grid(
    parts: Sequence[str],
    runs: int,
    *,
    only: str = "",
    jobs: int = 1,
    method: str = ANALYTIC,
    ungrouped: bool = False,
) -> None:
    """Print the tables as Markdown; cells with 1,000 groups or 840 images get half of the runs."""
    chosen = [settings for settings in cells() if only in title(settings)]
    for part in parts:
        names = OVERALL | (OF_CLASS if part == "coverage" else {"delong": "DeLong"})
        what = "Percent of 95 % intervals that contain the true value"
        if part == "alarms":
            what = "Percent of equally good pairs with p < 0.05"
        error = 100 * np.sqrt(0.05 * 0.95 / runs)
        print(f"\n{what}; {runs} data sets a row, half as many where there are 800 images or more.")
        print(f"Monte-Carlo error: {error:.1f}, or {np.sqrt(2) * error:.1f}.")
        print("In parentheses: most have a warning of few groups of a class. -: most have no result.")
        print("The last columns: percent of the AUROCs with a warning, and without a result.\n")
        print(f"| images or groups, positive | {' | '.join(names.values())} | warned | none |")
        print(f"|---|{'---|' * (len(names) + 2)}", flush=True)
        large = [settings["groups"] * settings.get("size", 1) >= 800 for settings in chosen]
        tasks = [
            (part, settings, runs // 2 if big else runs, method, ungrouped)
            for settings, big in zip(chosen, large, strict=True)
        ]
        with ProcessPoolExecutor(jobs) as pool:
            for settings, tallies in zip(chosen, pool.map(_row, tasks), strict=True):
                cells_of_row = [tallies[name].text() for name in names]
                auroc = tallies["auroc"]
                shares = [
                    f"{100 * count / (auroc.results + auroc.refused):.0f}"
                    for count in (auroc.warned, auroc.refused)
                ]
                print(f"| {title(settings)} | {' | '.join(cells_of_row + shares)} |", flush=True)
