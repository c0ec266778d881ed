"""Classes that are predictable from file metadata, tested against shuffled labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from excite.data.labels import UNKNOWN

if TYPE_CHECKING:
    from excite.audit.file_metadata import FileMetadata

FOLDS = 5
PERMUTATIONS = 99  # a score above all of them has p = 0.01
MARGIN = 0.1
"""Smallest reported improvement over chance, as a fraction of the possible one: 55 % if chance is 50 %."""

MOST_IMAGES = 5_000  # keeps it at seconds; more would only narrow the estimate
FEWEST_GROUPS = 2 * FOLDS
"""Smallest number of groups per class: two per fold."""

DEPTH = 3
_ADDED = 0.02  # smallest gain of all properties over the best one for a line of their own
EVERYTHING = "size, format, color mode, and bytes together"


@dataclass(frozen=True)
class Shortcut:
    """A property of the files that predicts the class.

    Args:
        feature: size, format, color mode, file bytes, or all of them together.
        score: cross-validated balanced accuracy of a shallow tree, by groups.
        chance: mean balanced accuracy with shuffled labels.
        highest: largest balanced accuracy with shuffled labels.
        images, groups: number of images and groups in the test.
    """

    feature: str
    score: float
    chance: float
    highest: float
    images: int
    groups: int

    def to_dict(self) -> dict[str, Any]:
        """The shortcut as an entry of ``shortcuts`` in ``audit.json``."""
        return {key: round(v, 4) if isinstance(v, float) else v for key, v in asdict(self).items()}

    def __str__(self) -> str:
        return (
            f"{self.feature}: balanced accuracy {self.score:.1%} on {self.images} images of {self.groups} "
            f"groups from file metadata alone (shuffled labels: {self.chance:.1%}, at most "
            f"{self.highest:.1%})"
        )


def find_shortcuts(
    facts: Sequence[FileMetadata],
    sides: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    *,
    seed: int = 0,
) -> list[Shortcut]:
    """The metadata (size, format, color mode, bytes) that predicts the class, the strongest first.

    A decision tree of depth 3 is cross-validated by group, with the true labels and with labels shuffled
    between groups (Ojala and Garriga, JMLR 11, 2010, test 1). Folds are independent of labels, so that the
    shuffles are exchangeable. A property is reported if it exceeds every shuffle and ``MARGIN``. All
    properties together are tested first, and single ones only if that succeeds, which keeps the rate of false
    alarms at 1 %.

    Args:
        facts: metadata of each image.
        sides: (N, 2) width and height in pixels.
        targets: (N,) class of each image, from 0.
        groups: (N,) group of each image.

    Returns:
        an empty list if nothing is significant, or if there are too few groups.
    """
    generator = np.random.default_rng(seed)
    rows = _sample(groups, generator)
    groups = np.unique(groups[rows], return_inverse=True)[1]
    targets = np.unique(targets[rows], return_inverse=True)[1]
    # A unit, the images of one group with one label, is shuffled as a whole.
    units = np.unique(np.stack([groups, targets]), axis=1, return_inverse=True)[1].ravel()
    labels = np.zeros(units.max(initial=-1) + 1, dtype=np.int64)
    labels[units] = targets
    if len(np.unique(labels)) < 2 or np.bincount(labels).min() < FEWEST_GROUPS:
        return []
    columns = feature_columns([facts[row] for row in rows], sides[rows])
    families = {name: _varied(table) for name, table in columns.items()}
    families = {name: table for name, table in families.items() if table.shape[1]}
    if not families:
        return []
    folds = _folds(groups, generator)

    def test(name: str, table: np.ndarray) -> Shortcut | None:
        score = _score(table, targets, folds)
        uniform = 1 / (targets.max() + 1)
        if score < uniform + MARGIN * (1 - uniform):
            return None
        shuffled: list[float] = []
        for _ in range(PERMUTATIONS):
            shuffled.append(_score(table, generator.permutation(labels)[units], folds))
            if shuffled[-1] >= score:
                return None
        return Shortcut(
            name, score, float(np.mean(shuffled)), max(shuffled), len(targets), int(groups.max()) + 1
        )

    together = test(EVERYTHING, np.hstack(list(families.values())))
    if together is None:
        return []
    results = [test(name, table) for name, table in families.items()]
    single = sorted((s for s in results if s is not None), key=lambda shortcut: -shortcut.score)
    return single if single and single[0].score >= together.score - _ADDED else [together, *single]


def find_label_shortcuts(
    facts: Sequence[FileMetadata],
    sides: np.ndarray,
    values: np.ndarray,
    groups: np.ndarray,
    names: Sequence[str],
) -> list[Shortcut]:
    """The metadata that predicts each of several labels, as ``find_shortcuts``.

    Each label is tested on the images where its value is known, so that the rate of false alarms is 1 % for
    each.

    Args:
        values: (N, L): 1, 0, or -1 (unknown).
        names: L labels.
    """
    found = []
    for name, column in zip(names, values.T, strict=True):
        rows = np.flatnonzero(column != UNKNOWN)
        known = [facts[row] for row in rows.tolist()]
        shortcuts = find_shortcuts(known, sides[rows], column[rows], groups[rows])
        found += [replace(each, feature=f"{each.feature} (label {name})") for each in shortcuts]
    return sorted(found, key=lambda shortcut: -shortcut.score)


def _sample(groups: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Rows of randomly drawn whole groups: at least one group, else at most ``MOST_IMAGES`` images."""
    if len(groups) <= MOST_IMAGES:
        return np.arange(len(groups))
    codes = np.unique(groups, return_inverse=True)[1]
    order = generator.permutation(codes.max() + 1)
    taken = np.cumsum(np.bincount(codes)[order]) <= MOST_IMAGES
    taken[0] = True
    return np.flatnonzero(np.isin(codes, order[taken]))


def feature_columns(facts: Sequence[FileMetadata], sides: np.ndarray) -> dict[str, np.ndarray]:
    """The features of each property, name -> (N, columns)."""
    width, height = sides[:, 0].astype(float), sides[:, 1].astype(float)
    size = np.array([fact.bytes for fact in facts], dtype=float)
    return {
        "size": np.stack([width, height, width * height, width / np.maximum(height, 1)], axis=1),
        "format": np.column_stack(
            [_one_hot([fact.format for fact in facts]), [fact.quantization for fact in facts]]
        ),
        "color mode": np.column_stack(
            [_one_hot([fact.mode for fact in facts]), [fact.gray for fact in facts]]
        ),
        "file bytes": np.stack([size, size / np.maximum(width * height, 1)], axis=1),
    }


def _one_hot(names: Sequence[str]) -> np.ndarray:
    values = np.array(names)
    return np.stack([values == name for name in np.unique(values)], axis=1).astype(float)


def _varied(table: np.ndarray) -> np.ndarray:
    return table[:, table.min(axis=0) < table.max(axis=0)]


def _folds(groups: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The fold of each image, with whole groups: dealt out in turn after shuffling, large groups first."""
    sizes = np.bincount(groups)
    order = np.lexsort((generator.random(len(sizes)), -sizes))
    places = np.empty(len(sizes), dtype=np.int64)
    places[order] = np.arange(len(sizes)) % FOLDS
    return places[groups]


def _score(table: np.ndarray, targets: np.ndarray, folds: np.ndarray) -> float:
    """Cross-validated balanced accuracy over the images of all folds."""
    from sklearn.tree import DecisionTreeClassifier  # takes a second to import

    predicted = np.empty_like(targets)
    table = np.ascontiguousarray(
        table, dtype=np.float32
    )  # the dtype of trees, converted once instead of five times per shuffle
    for fold in range(FOLDS):
        held_out = folds == fold
        known = targets[~held_out]
        weights = 1 / np.maximum(np.bincount(known), 1)
        # Leaves of at least 1 % prevent the tree from memorizing single groups.
        tree = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=0.01, random_state=0)
        tree.fit(table[~held_out], known, sample_weight=weights[known], check_input=False)
        predicted[held_out] = tree.predict(table[held_out], check_input=False)
    right = np.bincount(targets, weights=predicted == targets)
    return float(np.mean(right / np.bincount(targets)))
