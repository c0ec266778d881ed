"""Do the shortcut test's intervals hold, and are planted shortcuts found and named?

Run by hand: ``python benchmarks/shortcut_simulations.py --sets 500``. First features without signal, in which
the images of a group are alike: how often the 95 % interval of the refitted AUROC holds 0.5, by number of
groups and features, and with labels shuffled between the groups of one set of pictures. Then pictures with an
object in the middle and a planted frame, watermark, or tint: how often each is found and named, and how often
something is named in pictures without any.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from excite.evaluation.refitted_auroc import GroupedFolds
from excite.explain.alterations import region_statistics
from excite.explain.shortcuts import name_findings, pixel_tests
from tests.explain.simulated import pictures

DESIGNS = ((40, 1, 12), (60, 3, 12), (60, 3, 200), (120, 2, 48))


def coverage(groups: int, size: int, features: int, sets: int) -> tuple[float, float, float]:
    """How often the interval holds 0.5, how often p is at most 0.05, and the mean AUROC."""
    held, small, areas = 0, 0, []
    for seed in range(sets):
        random = np.random.default_rng(seed)
        codes = np.repeat(np.arange(groups), size)
        targets = random.permutation(np.arange(groups) % 2)[codes]
        table = random.normal(size=(groups, features))[codes] + random.normal(size=(len(codes), features))
        found = GroupedFolds(targets, codes).auroc(table)
        held += (found.interval.low or 0) <= 0.5 <= (found.interval.high or 1)
        small += found.p <= 0.05
        areas.append(found.value)
    return held / sets, small / sets, float(np.mean(areas))


def shuffled(sets: int) -> tuple[float, float, float]:
    """The same for the frame of one set of pictures, with labels shuffled between groups."""
    pixels, targets, groups = pictures()
    table = region_statistics(pixels)["frame"]
    labels = targets[::2]
    held, small, areas = 0, 0, []
    for seed in range(sets):
        drawn = np.random.default_rng(seed).permutation(labels)[groups]
        found = GroupedFolds(drawn, groups).auroc(table)
        held += (found.interval.low or 0) <= 0.5 <= (found.interval.high or 1)
        small += found.p <= 0.05
        areas.append(found.value)
    return held / sets, small / sets, float(np.mean(areas))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=500, help="simulated sets for each row")
    parser.add_argument("--pictures", type=int, default=40, help="sets of pictures for each planted shortcut")
    arguments = parser.parse_args()
    print(
        "| groups x images, features | interval holds 0.5 | p at most 0.05 | mean AUROC |\n|---|---|---|---|"
    )
    for design in DESIGNS:
        held, small, mean = coverage(*design, arguments.sets)
        name = f"{design[0]} x {design[1]}, {design[2]}"
        print(f"| {name} | {held:.1%} | {small:.1%} | {mean:.3f} |", flush=True)
    held, small, mean = shuffled(arguments.sets)
    print(f"| pictures with shuffled labels | {held:.1%} | {small:.1%} | {mean:.3f} |\n", flush=True)
    print("| planted | sets | named |\n|---|---|---|")
    for plant in ("none", "frame", "watermark", "tint"):
        counts: Counter[str] = Counter()
        for seed in range(arguments.pictures):
            found = name_findings(pixel_tests(*pictures(plant=plant, seed=seed)))
            counts.update([text.partition(":")[0].partition(",")[0] for text in found] or ["nothing"])
        named = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        print(f"| {plant} | {arguments.pictures} | {named} |", flush=True)


if __name__ == "__main__":
    main()
