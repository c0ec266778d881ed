"""Coverage of the intervals of ordered classes on simulated grades, where the truth is known.

Run by hand: ``python benchmarks/ordinal_intervals.py --runs 400``. Each row is the percentage of data sets
whose 95 % interval holds the value in the population.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import softmax

from excite.evaluation.measure import measure
from excite.evaluation.metrics import ORDINAL
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums

GRADES = ("none", "mild", "moderate", "severe")
POPULATION = 100_000  # groups


def grades(random: np.random.Generator, groups: int, size: int, *, skew: float) -> Predictions:
    """Groups of ``size`` images with a hidden degree, seen with an error of the group and of the image.

    Args:
        skew: 1: all grades are equally frequent; larger: the higher ones are rarer.
    """
    degree = 3.999 * random.random(groups) ** skew
    codes = np.repeat(np.arange(groups), size)
    seen = degree[codes] + 0.5 * random.normal(size=groups)[codes] + 0.5 * random.normal(size=len(codes))
    rows = softmax(-3 * np.abs(seen[:, None] - 0.5 - np.arange(4)), axis=1)
    return Predictions(degree.astype(int)[codes], rows, GRADES, codes.astype(str), order=GRADES)


def coverage(groups: int, size: int, skew: float, runs: int) -> list[float]:
    """The percentage for each metric of ``ORDINAL``."""
    random = np.random.default_rng(0)
    truth = GroupSums(grades(random, POPULATION, size, skew=skew), ranking=False).point().overall
    held = np.zeros(len(ORDINAL))
    for _ in range(runs):
        found = measure(grades(random, groups, size, skew=skew))
        for number, name in enumerate(ORDINAL):
            low, high = found[name].get("low"), found[name].get("high")
            held[number] += low is not None and low <= truth[name][0] <= high
    return (100 * held / runs).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    print(f"{'groups':>8}{'images':>8}{'skew':>6}" + "".join(f"{name:>22}" for name in ORDINAL))
    for groups, size, skew in ((30, 1, 1.0), (60, 1, 1.0), (60, 4, 1.0), (60, 4, 2.0), (200, 1, 2.0)):
        percents = "".join(f"{value:>22.1f}" for value in coverage(groups, size, skew, runs))
        print(f"{groups:>8}{size:>8}{skew:>6.0f}{percents}", flush=True)


if __name__ == "__main__":
    main()
