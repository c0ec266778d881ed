"""How well splits meet their fractions, and how many images change sides when one group is added.

``python benchmarks/splits.py`` prints the table in docs/experiments/splits.md: the split of excite beside
scikit-learn's ``StratifiedGroupKFold`` with five folds, of which one is the test set, over simulated data
sets.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from excite.data.manifest import Manifest
from excite.data.split import split_manifest

Data = tuple[np.ndarray, np.ndarray]  # class and group of each image


def single_images(random: np.random.Generator) -> Data:
    """500 images, each a group of its own; three classes of 70, 20, and 10 %."""
    return random.choice(3, size=500, p=(0.7, 0.2, 0.1)), np.arange(500)


def many_classes(random: np.random.Generator) -> Data:
    """50 classes of 12 images, each a group of its own."""
    return np.repeat(np.arange(50), 12), np.arange(600)


def equal_groups(random: np.random.Generator) -> Data:
    """100 groups of 14 images; 20 % of the groups are positive."""
    return np.repeat(np.arange(100) % 5 == 0, 14).astype(int), np.repeat(np.arange(100), 14)


def uneven_groups(random: np.random.Generator) -> Data:
    """150 groups of 1 to about 60 images, log-normal; 25 % of the groups are positive."""
    sizes = np.ceil(random.lognormal(1.5, 1, 150)).astype(int)
    return np.repeat(np.arange(150) % 4 == 0, sizes).astype(int), np.repeat(np.arange(150), sizes)


def few_uneven_groups(random: np.random.Generator) -> Data:
    """30 groups of 1 to about 60 images, log-normal; a third of the groups are positive."""
    sizes = np.ceil(random.lognormal(1.5, 1, 30)).astype(int)
    return np.repeat(np.arange(30) % 3 == 0, sizes).astype(int), np.repeat(np.arange(30), sizes)


def mixed_groups(random: np.random.Generator) -> Data:
    """150 uneven groups; half of the images of every second group are of one of three other classes."""
    sizes = np.ceil(random.lognormal(1.5, 1, 150)).astype(int)
    groups = np.repeat(np.arange(150), sizes)
    main, other = np.arange(150) % 4, random.integers(0, 4, 150)
    swap = (random.random(len(groups)) < 0.5) & (groups % 2 == 0)
    return np.where(swap, other[groups], main[groups]), groups


def all_mixed(random: np.random.Generator) -> Data:
    """150 uneven groups in which each image is of one of three classes (70, 20, 10 %) by chance."""
    sizes = np.ceil(random.lognormal(1.5, 1, 150)).astype(int)
    groups = np.repeat(np.arange(150), sizes)
    return random.choice(3, size=len(groups), p=(0.7, 0.2, 0.1)), groups


KINDS = (single_images, many_classes, equal_groups, uneven_groups, few_uneven_groups, mixed_groups, all_mixed)


def test_images(data: Data, names: list[str], seed: int) -> np.ndarray:
    """Which images are in excite's test set, (N,) bool."""
    labels, groups = data
    table = pd.DataFrame({"path": [f"/{name}" for name in range(len(labels))], "label": labels.astype(str)})
    table["group"] = [names[group] for group in groups]
    classes = tuple(sorted(set(table["label"]), key=int))
    made = split_manifest(Manifest(table, classes), method="grouped", seed=seed)
    return (made.table["split"] == "test").to_numpy()


def sklearn_test_images(data: Data, seed: int) -> np.ndarray:
    labels, groups = data
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    _, test = next(splitter.split(labels, labels, groups))
    return np.isin(np.arange(len(labels)), test)


def errors(labels: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Distance from 20 % of all images, and of the class that is farthest off, in points."""
    by_class = [abs(test[labels == label].mean() - 0.2) for label in np.unique(labels)]
    return 100 * abs(test.mean() - 0.2), 100 * max(by_class)


def without_group(data: Data, group: int) -> Data:
    labels, groups = data
    keep = groups != group
    return labels[keep], groups[keep]


def measure(
    kind: Callable[[np.random.Generator], Data], repeats: int
) -> tuple[list[float], list[float], list[float]]:
    """Errors of excite and of scikit-learn, and what leaving out one group changes."""
    ours, theirs, changes = [], [], []
    for seed in range(repeats):
        random = np.random.default_rng(seed)
        data = kind(random)
        names = [f"g{number}" for number in range(data[1].max() + 1)]
        test = test_images(data, names, seed)
        ours.append(errors(data[0], test))
        theirs.append(errors(data[0], sklearn_test_images(data, seed)))
        group = int(random.integers(data[1].max() + 1))
        fewer = without_group(data, group)
        keep = data[1] != group
        compact = np.unique(fewer[1], return_inverse=True)[1]
        left = [name for number, name in enumerate(names) if number != group]
        both = test[keep], test_images((fewer[0], compact), left, seed)
        other = sklearn_test_images(fewer, seed), sklearn_test_images(data, seed)[keep]
        # Images of the test set that are no longer in it, in percent of the test set.
        changes.append([100 * (old & ~new).sum() / max(1, old.sum()) for old, new in (both, other[::-1])])
    return np.mean(ours, axis=0).tolist(), np.mean(theirs, axis=0).tolist(), np.mean(changes, axis=0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=100, help="simulated data sets of each kind")
    options = parser.parse_args()
    print("| data | all images | worst class | moved | sklearn: all | worst class | moved |")
    print("|---|---|---|---|---|---|---|")
    for kind in KINDS:
        ours, theirs, changes = measure(kind, options.repeats)
        cells = [
            *(f"{v:.2f}" for v in ours),
            f"{changes[0]:.1f} %",
            *(f"{v:.2f}" for v in theirs),
            f"{changes[1]:.1f} %",
        ]
        print(f"| {(kind.__doc__ or '').strip().rstrip('.')} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
