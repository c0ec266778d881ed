"""A class told apart by its files alone: a model that never sees a picture, held against shuffled labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from excite.audit.file_metadata import FileMetadata

FOLDS = 5
PERMUTATIONS = 99  # so that a score above all of them has p = 0.01
MARGIN = 0.1
"""The least share of the way from chance to perfect that is worth a word: 55 % where chance is 50 %."""

MOST_IMAGES = 5_000  # more would make the figure sharper and no other; keeps it at seconds
FEWEST_GROUPS = 2 * FOLDS
"""Groups that a class needs for a judgment: two a fold."""

DEPTH = 3
_ADDED = 0.02  # what all properties must add to the best one to be worth a line of their own
EVERYTHING = "size, format, color mode and bytes together"


@dataclass(frozen=True)
class Shortcut:
    """A property of the files that tells the classes apart.

    Args:
        feature: size, format, color mode, file bytes, or all of them together.
        score: balanced accuracy of a shallow tree on groups that it has not seen.
        chance: the mean of the same with shuffled labels; ``highest`` the largest of those.
        images, groups: what it was measured on.
    """

    feature: str
    score: float
    chance: float
    highest: float
    images: int
    groups: int

    def to_dict(self) -> dict[str, Any]:
        return {key: round(v, 4) if isinstance(v, float) else v for key, v in asdict(self).items()}

    def __str__(self) -> str:
        return (
            f"{self.feature}: balanced accuracy {self.score:.1%} on {self.images} images of {self.groups} "
            f"groups without looking at a picture (shuffled labels: {self.chance:.1%}, at most "
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
    """What of the files' size, format, color mode and bytes tells the classes apart, the strongest first.

    A decision tree of depth 3 is cross-validated by group, and the same is done with the labels shuffled
    between groups (Ojala and Garriga, JMLR 11, 2010, test 1). The folds do not look at the labels, so that
    the shuffles are exchangeable. A property is reported when it beats every shuffle and ``MARGIN``. All of
    them together come first: where they tell nothing, none is tried alone, which keeps false alarms at 1 %.

    Args:
        facts: of each image.
        sides: width and height in pixels, (N, 2).
        targets: class of each image, (N,) from 0.
        groups: group of each image, (N,): what one photo or patient is.

    Returns:
        an empty list where nothing stands out, or where there are too few groups to tell.
    """
    generator = np.random.default_rng(seed)
    rows = _sample(groups, generator)
    groups = np.unique(groups[rows], return_inverse=True)[1]
    targets = np.unique(targets[rows], return_inverse=True)[1]
    # A unit is what is shuffled: the images of one group under one label.
    units = np.unique(np.stack([groups, targets]), axis=1, return_inverse=True)[1].ravel()
    labels = np.zeros(units.max(initial=-1) + 1, dtype=np.int64)
    labels[units] = targets
    if len(np.unique(labels)) < 2 or np.bincount(labels).min() < FEWEST_GROUPS:
        return []
    columns = _columns([facts[row] for row in rows], sides[rows])
    families = {name: _varied(table) for name, table in columns.items()}
    families = {name: table for name, table in families.items() if table.shape[1]}
    if not families:
        return []
    folds = _folds(groups, generator)

    def judged(name: str, table: np.ndarray) -> Shortcut | None:
        score = _score(table, targets, folds)
        even = 1 / (targets.max() + 1)
        if score < even + MARGIN * (1 - even):
            return None
        shuffled: list[float] = []
        for _ in range(PERMUTATIONS):
            shuffled.append(_score(table, generator.permutation(labels)[units], folds))
            if shuffled[-1] >= score:
                return None
        return Shortcut(
            name, score, float(np.mean(shuffled)), max(shuffled), len(targets), int(groups.max()) + 1
        )

    together = judged(EVERYTHING, np.hstack(list(families.values())))
    if together is None:
        return []
    alone = [judged(name, table) for name, table in families.items()]
    single = sorted((s for s in alone if s is not None), key=lambda shortcut: -shortcut.score)
    return single if single and single[0].score >= together.score - _ADDED else [together, *single]


def _sample(groups: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Rows of whole groups drawn at random, at most ``MOST_IMAGES`` and at least one group."""
    if len(groups) <= MOST_IMAGES:
        return np.arange(len(groups))
    codes = np.unique(groups, return_inverse=True)[1]
    order = generator.permutation(codes.max() + 1)
    taken = np.cumsum(np.bincount(codes)[order]) <= MOST_IMAGES
    taken[0] = True
    return np.flatnonzero(np.isin(codes, order[taken]))


def _columns(facts: Sequence[FileMetadata], sides: np.ndarray) -> dict[str, np.ndarray]:
    """The numbers that each property comes to, name -> (N, columns)."""
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
    """A fold for each image, groups whole: dealt out in turn after shuffling, the large ones first."""
    sizes = np.bincount(groups)
    order = np.lexsort((generator.random(len(sizes)), -sizes))
    places = np.empty(len(sizes), dtype=np.int64)
    places[order] = np.arange(len(sizes)) % FOLDS
    return places[groups]


def _score(table: np.ndarray, targets: np.ndarray, folds: np.ndarray) -> float:
    """Balanced accuracy over the images of all folds, each judged by a tree that has not seen it."""
    from sklearn.tree import DecisionTreeClassifier  # costs a second to import

    predicted = np.empty_like(targets)
    table = np.ascontiguousarray(table, dtype=np.float32)  # what a tree turns it into, five times a shuffle
    for fold in range(FOLDS):
        held = folds == fold
        known = targets[~held]
        weights = 1 / np.maximum(np.bincount(known), 1)
        # Leaves of a hundredth keep a single group from being learned by heart.
        tree = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=0.01, random_state=0)
        tree.fit(table[~held], known, sample_weight=weights[known], check_input=False)
        predicted[held] = tree.predict(table[held], check_input=False)
    right = np.bincount(targets, weights=predicted == targets)
    return float(np.mean(right / np.bincount(targets)))
