"""How often equal configurations differ with p < 0.05: one run of each, and several seeds of each.

``python benchmarks/seed_comparison.py`` prints the table in docs/experiments/intervals.md. Two configurations
of the same accuracy are simulated: an image has a difficulty, which images of a group share by half, and each
training has an accuracy of its own. The columns are the p-value of ``excite compare A B``, which is about two
networks, and that of ``excite compare A1 A2 ... --with B1 B2 ...``, both for the accuracy.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats

from excite.evaluation.comparison import compare
from excite.evaluation.predictions import Predictions
from excite.evaluation.seed_comparison import nested_difference

ACCURACY = 0.85
SEEDS = ((2, 2), (3, 3), (5, 5), (10, 10), (2, 5), (3, 10))
IMAGES = ((200, 1), (1000, 1), (40, 5), (100, 10))  # groups, images in each
POINTS = (0.0, 1.0, 2.0)


def correct(random: np.random.Generator, count: int, difficulty: np.ndarray, points: float) -> np.ndarray:
    """Which images each training classifies correctly, (count, N); the accuracies differ by ``points``."""
    accuracies = np.clip(ACCURACY + random.normal(size=(count, 1)) * points / 100, 0.5, 0.999)
    return (difficulty + random.normal(size=(count, len(difficulty)))) / np.sqrt(2) < stats.norm.ppf(
        accuracies
    )


def predictions(right: np.ndarray, groups: np.ndarray) -> Predictions:
    targets = np.arange(len(right)) % 2
    yes = np.where(right == (targets == 1), 0.9, 0.1)
    return Predictions(targets, np.stack([1 - yes, yes], axis=1), ("no", "yes"), groups=groups)


def rates(
    seeds: tuple[int, int],
    images: tuple[int, int],
    points: tuple[float, float],
    repeats: int,
    *,
    pairs: int = 0,
) -> tuple[float, float]:
    """False positive rates in percent: of one run of each side in ``pairs`` draws, and of all seeds."""
    count, size = images
    groups = np.repeat(np.arange(count), size).astype(str)
    single, several = [], []
    for repeat in range(repeats):
        random = np.random.default_rng([repeat, *seeds, *images])
        shared = 0.5 if size > 1 else 0.0
        difficulty = np.repeat(random.normal(size=count), size) * shared**0.5
        difficulty += random.normal(size=count * size) * (1 - shared) ** 0.5
        one, two = (correct(random, number, difficulty, sd) for number, sd in zip(seeds, points, strict=True))
        # The pseudo-values of the accuracy are the means of the groups, if these have equal sizes.
        tables = (side.reshape(len(side), count, size).mean(axis=2) for side in (one, two))
        several.append(nested_difference(*tables).p)
        if repeat < pairs:
            both = predictions(one[0], groups), predictions(two[0], groups)
            single.append(compare(*both, ["accuracy"], resamples=1000)["accuracy"].p)
    return 100 * np.mean(np.array(single) < 0.05) if pairs else np.nan, 100 * np.mean(
        np.array(several) < 0.05
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=4000, help="simulated comparisons of each cell")
    parser.add_argument(
        "--pairs", type=int, default=1000, help="comparisons of one run of each configuration"
    )
    options = parser.parse_args()
    print("| test images | points between seeds | one run of each |", end="")
    print("".join(f" {one} and {two} seeds |" for one, two in SEEDS))
    print("|---|---|---|" + "---|" * len(SEEDS))
    for images in IMAGES:
        for points in POINTS:
            cells = []
            for number, seeds in enumerate(SEEDS):
                single, several = rates(
                    seeds, images, (points, points), options.repeats, pairs=0 if number else options.pairs
                )
                cells += [*([f"{single:.1f} %"] if number == 0 else []), f"{several:.1f} %"]
            name = f"{images[0]}" if images[1] == 1 else f"{images[0]} groups of {images[1]}"
            print(f"| {name} | {points:g} | {' | '.join(cells)} |", flush=True)
    print()
    print("Configurations that vary by 1 and by 3 points between seeds, 1,000 images:")
    for seeds in ((3, 3), (5, 5), (3, 10), (10, 3)):
        _, several = rates(seeds, (1000, 1), (1.0, 3.0), options.repeats)
        print(f"{seeds[0]} and {seeds[1]} seeds: {several:.1f} %", flush=True)


if __name__ == "__main__":
    main()
