"""Coverage of 95 % intervals, false alarms of tests at 5 %, and the cost of both.

Run by hand: ``python benchmarks/intervals.py speed``, ``coverage`` or ``alarms``; ``--runs 2000`` as in
docs/evaluation.md. The true value of each simulation is computed from 200,000 of its groups. The images of a
group have one class and similar difficulty, like the photos of a patient.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import scipy
from scipy import stats
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from excite.evaluation.comparison import compare, mcnemar
from excite.evaluation.delong import delong
from excite.evaluation.effective_sample_size import jackknife_interval
from excite.evaluation.intervals import bootstrap_interval, grouped_wilson, wilson
from excite.evaluation.measure import measure, proportion
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums, Values, bootstrap, jackknife

RESAMPLED = (
    "balanced_accuracy",
    "macro_f1",
    "mcc",
    "kappa",
    "auroc",
    "average_precision",
    "log_loss",
    "brier",
)
OF_CLASS = ("sensitivity", "specificity", "ppv", "npv")
SETTINGS: dict[str, dict[str, Any]] = {
    "200 images": {"groups": 200},
    "200 images, 96 % right": {"groups": 200, "signal": 2.5},
    "1000 images, 3 classes": {"groups": 1000, "signal": 2.0, "classes": 3},
    "60 groups": {"groups": 60, "size": 5, "alike": 1.2},
    "60 groups, 93 % right": {"groups": 60, "size": 5, "alike": 1.0, "signal": 2.6},
    "60 groups, 3 classes": {"groups": 60, "size": 5, "alike": 1.2, "signal": 2.0, "classes": 3},
    "200 groups": {"groups": 200, "size": 5, "alike": 1.2},
    "uneven, 60 groups of 1 to 60": {"groups": 60, "alike": 1.2, "uneven": True},
    "30 groups": {"groups": 30, "size": 5, "alike": 1.2},
    "12 groups": {"groups": 12, "size": 5, "alike": 1.2},
}


def simulate(
    random: np.random.Generator,
    groups: int,
    *,
    classes: int = 2,
    size: int = 1,
    alike: float = 0.0,
    signal: float = 1.5,
    uneven: bool = False,
) -> Predictions:
    """Images in groups of 1 to 2 size - 1, or of very uneven sizes up to 60.

    ``alike``: how much the images of a group are easy or hard together.
    """
    sizes = random.integers(1, 2 * size, groups)
    if uneven:
        sizes = np.ceil(random.lognormal(0.8, 1.1, groups)).clip(max=60).astype(int)
    codes = np.repeat(np.arange(groups), sizes)
    targets = random.integers(0, classes, groups)[codes]
    logits = random.normal(size=(len(codes), classes))
    logits[np.arange(len(codes)), targets] += signal + alike * random.normal(size=groups)[codes]
    return Predictions(
        targets, softmax(1.2 * logits, axis=1), tuple(f"class {number}" for number in range(classes)), codes
    )


def pair(
    random: np.random.Generator, groups: int, *, size: int = 1, alike: float = 0.0
) -> tuple[Predictions, Predictions]:
    """Two classifiers, equally good, that see the same images with an error of their own each."""
    base = simulate(random, groups, size=size, alike=alike, signal=1.0)
    seen, codes = np.log(base.probabilities), base.group_codes

    def one() -> Predictions:
        own = random.normal(size=(groups, 2))[codes] * alike + random.normal(size=seen.shape)
        return Predictions(base.targets, softmax(seen + own, axis=1), base.classes, base.groups)

    return one(), one()


def ungrouped(predictions: Predictions) -> Predictions:
    return Predictions(predictions.targets, predictions.probabilities, predictions.classes)


class Table:
    """One simulated data set with all its resamples."""

    def __init__(self, predictions: Predictions, resamples: int, seed: int) -> None:
        self.sums = GroupSums(predictions)
        self.point: Values = self.sums.point()
        self.resampled = bootstrap([self.sums], resamples, seed)[0]
        self.left_out = jackknife([self.sums], seed)[0]

    def bounds(self, name: str, method: str) -> tuple[float, float]:
        if name in OF_CLASS:
            found = grouped_wilson(*proportion(self.sums, name, 0))
        elif name == "accuracy":
            found = grouped_wilson(self.sums.right.sum(axis=0), self.sums.images)
        elif method == "jackknife":
            found = jackknife_interval(
                name,
                float(self.point.overall[name][0]),
                self.left_out.overall[name],
                groups=self.sums.groups,
                effective=self.sums.effective_groups,
            )
        else:
            found = bootstrap_interval(
                float(self.point.overall[name][0]),
                self.resampled.overall[name],
                self.left_out.overall[name],
                method=method,
                groups=self.sums.groups,
                effective=self.sums.effective_groups,
            )
        return (np.nan, np.nan) if found.low is None or found.high is None else (found.low, found.high)


def coverage(runs: int, resamples: int, only: str) -> None:
    """How many of 100 intervals hold the truth; ``images`` takes every image for a group of its own."""
    print(f"{runs} simulated data sets a row, {resamples} resamples; Monte-Carlo error of 95 %: ", end="")
    print(f"{100 * np.sqrt(0.95 * 0.05 / runs):.1f} points. Missing intervals are left out, and counted.")
    for title, settings in SETTINGS.items():
        if not title.startswith(only):
            continue
        known = GroupSums(simulate(np.random.default_rng(99), **(settings | {"groups": 200_000}))).point()
        truth = {name: float(known.overall[name][0]) for name in ("accuracy", *RESAMPLED)}
        truth |= {name: float(known.classes[name].mean()) for name in OF_CLASS}
        random = np.random.default_rng(1)
        inside: Counter[tuple[str, str]] = Counter()
        missing: Counter[str] = Counter()
        for run in range(runs):
            predictions = simulate(random, **settings)
            tables = {"grouped": Table(predictions, resamples, run)}
            if settings.get("size", 1) > 1:
                tables["images"] = Table(ungrouped(predictions), resamples, run)
            for name, kind in product(truth, tables):
                methods: tuple[str, ...] = ("jackknife",)
                if kind == "grouped" and name in RESAMPLED:
                    methods = ("jackknife", "bca", "percentile")
                for method in methods:
                    low, high = tables[kind].bounds(name, method)
                    inside[name, f"{kind} {method}"] += low <= truth[name] <= high
                    missing[name] += bool(np.isnan(low)) and (kind, method) == ("grouped", "jackknife")
        print(f"\n{title}")
        print(f"{'':20}{'truth':>8}{'default':>9}{'bca':>9}{'percentile':>12}{'images':>9}{'missing':>9}")
        for name, value in truth.items():
            cells = [
                f"{100 * inside[name, kind] / max(1, runs - missing[name]):.1f}"
                if (name, kind) in inside
                else "-"
                for kind in ("grouped jackknife", "grouped bca", "grouped percentile", "images jackknife")
            ]
            print(
                f"{name:20}{value:8.3f}{cells[0]:>9}{cells[1]:>9}{cells[2]:>12}{cells[3]:>9}{missing[name]:9}",
                flush=True,
            )


def alarms(runs: int, resamples: int, only: str) -> None:
    """How many of 100 pairs of equally good classifiers are called different at p < 0.05."""
    print(f"{runs} pairs a row, {resamples} resamples; Monte-Carlo error of 5 %: ", end="")
    print(f"{100 * np.sqrt(0.95 * 0.05 / runs):.1f} points")
    metrics = ("accuracy", *RESAMPLED)
    for title, settings in {
        "200 images": {"groups": 200},
        "60 groups": {"groups": 60, "size": 4, "alike": 0.8},
        "200 groups": {"groups": 200, "size": 4, "alike": 0.8},
    }.items():
        if not title.startswith(only):
            continue
        random = np.random.default_rng(1)
        rejected: Counter[str] = Counter()
        for run in range(runs):
            first, second = pair(random, **settings)
            found = compare(first, second, metrics, resamples=resamples, seed=run)
            for name, one in found.items():
                rejected[f"bootstrap, {name}"] += one.p is not None and one.p < 0.05
            tests = mcnemar(first, second)
            alone = delong(ungrouped(first), ungrouped(second)).p
            for name, p in {
                "DeLong, auroc": delong(first, second).p,
                "DeLong, auroc, groups ignored": alone,
                "McNemar exact, accuracy": tests.p,
                "McNemar mid-p, accuracy": tests.mid_p,
            }.items():
                rejected[name] += p is not None and p < 0.05
        print(f"\n{title}")
        for name, count in rejected.items():
            print(f"{name:36}{100 * count / runs:6.1f}", flush=True)


def seconds(action: Callable[[], object], times: int = 3) -> float:
    spent = []
    for _ in range(times):
        began = time.process_time()
        action()
        spent.append(time.process_time() - began)
    return float(np.median(spent))


def speed(resamples: int) -> None:
    """Seconds of one core for all figures of 10,000 predictions, beside scipy's bootstrap of a single one."""
    print(f"numpy {np.__version__}, scipy {scipy.__version__}, {platform.machine()}; {resamples} resamples")
    random = np.random.default_rng(0)
    for classes, size in ((2, 1), (6, 1), (6, 10), (30, 1)):
        images = simulate(random, 10_000 // size, classes=classes, size=size, alike=1.0, signal=2.0)
        sizes = f"{len(images)} images, {images.group_count} groups, {classes} classes"
        for method in ("jackknife", "bca"):
            spent = seconds(
                lambda images=images, method=method: measure(images, method=method, resamples=resamples)  # type: ignore[misc]
            )
            print(f"all figures, {sizes}, {method}: {spent:.2f} s")
    two = simulate(random, 10_000)
    right = two.correct.astype(float)
    spent = seconds(
        lambda: stats.bootstrap((right,), np.mean, n_resamples=resamples, method="percentile", batch=100), 1
    )
    print(f"scipy.stats.bootstrap, accuracy alone, percentile: {spent:.2f} s")
    rows = random.integers(0, len(two), (20, len(two)))
    each = (
        seconds(lambda: [roc_auc_score(two.targets[row], two.probabilities[row, 1]) for row in rows], 1) / 20
    )
    print(
        f"a loop over scikit-learn's roc_auc_score, AUROC alone: {each * resamples:.1f} s (from 20 resamples)"
    )
    spent = seconds(lambda: wilson(9000, 10_000))
    print(f"Wilson: {1e6 * spent:.0f} microseconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", choices=("speed", "coverage", "alarms"))
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--only", default="", help="settings whose title begins so")
    given = parser.parse_args()
    if given.part == "speed":
        speed(given.resamples)
    else:
        {"coverage": coverage, "alarms": alarms}[given.part](given.runs, given.resamples, given.only)


if __name__ == "__main__":
    main()
