"""Coverage of 95 % intervals, false alarms of tests at 5 %, and the cost of both.

Run by hand: ``python benchmarks/intervals.py grid`` prints both tables of docs/experiments/intervals.md,
and ``speed`` the cost. ``--only`` chooses rows, ``--method bca`` or ``percentile`` the bootstrap instead of
the default intervals, and ``--ungrouped`` takes every image for a group of its own.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy
from scipy import stats
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parents[1]))  # the benchmarks import one another

from benchmarks.interval_grid import PARTS, print_grid
from benchmarks.simulated_predictions import pair, simulate
from excite.evaluation.comparison import compare
from excite.evaluation.intervals import wilson
from excite.evaluation.measure import measure
from excite.evaluation.metric_intervals import INTERVAL_METHODS


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
        for method in ("analytic", "bca"):
            spent = seconds(
                lambda images=images, method=method: measure(images, method=method, resamples=resamples)  # type: ignore[misc]
            )
            print(f"all figures, {sizes}, {method}: {spent:.2f} s")
    spent = seconds(lambda: compare(*pair(random, 10_000), resamples=resamples), 1)
    print(f"differences of all metrics, 10000 images, 2 classes: {spent:.2f} s")
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
    commands = parser.add_subparsers(dest="command", required=True)
    cost = commands.add_parser("speed", help="seconds for all metrics of 10,000 predictions")
    cost.add_argument("--resamples", type=int, default=2000)
    grid = commands.add_parser("grid", help="coverage and false alarms")
    grid.add_argument("--runs", type=int, default=1000, help="data sets a row")
    grid.add_argument("--part", choices=PARTS, action="append", help="default: both")
    grid.add_argument("--only", default="", help="rows whose title contains this text")
    grid.add_argument("--jobs", type=int, default=1, help="processes")
    grid.add_argument("--method", choices=INTERVAL_METHODS, default=INTERVAL_METHODS[0])
    grid.add_argument("--ungrouped", action="store_true", help="ignore the groups, for coverage only")
    given = parser.parse_args()
    if given.command == "speed":
        speed(given.resamples)
        return
    print_grid(
        given.part or PARTS,
        given.runs,
        only=given.only,
        jobs=given.jobs,
        method=given.method,
        ungrouped=given.ungrouped,
    )


if __name__ == "__main__":
    main()
