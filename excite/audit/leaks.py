"""Leaks, groups in more than one split, and label conflicts, photos with several labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from excite.data.labels import ABSENT, PRESENT
from excite.data.manifest import SPLITS


@dataclass(frozen=True)
class Leaks:
    """Groups in more than one split.

    Args:
        groups: numbers of these groups.
        images: for each split, number of images with a near-duplicate in another one.
        totals: for each split, number of images.
    """

    groups: tuple[int, ...]
    images: dict[str, int]
    totals: dict[str, int]

    def __bool__(self) -> bool:
        return bool(self.groups)

    def fraction(self, split: str) -> float:
        """The fraction of images of a split with a near-duplicate in another one; 0 for an empty split."""
        return self.images[split] / self.totals[split] if self.totals.get(split) else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The leaks as ``leaks`` of ``audit.json``."""
        return {
            "groups": len(self.groups),
            "images": self.images,
            "fractions": {split: round(self.fraction(split), 6) for split in self.images},
        }


@dataclass(frozen=True)
class LabelConflict:
    """One photo with several labels.

    Args:
        images: rows of the manifest.
        labels: number of images with each label, the most frequent first.
    """

    images: tuple[int, ...]
    labels: dict[str, int]


def find_leaks(splits: Sequence[str], groups: Sequence[int]) -> Leaks:
    """The groups in more than one split.

    Args:
        splits: of each image: train, val, test, or "" for none.
        groups: number of the group of each image.
    """
    splits_of = defaultdict(set)
    for split, group in zip(splits, groups, strict=True):
        if split:
            splits_of[group].add(split)
    leaking = {group for group, parts in splits_of.items() if len(parts) > 1}
    totals = Counter(split for split in splits if split)
    affected = Counter(
        split for split, group in zip(splits, groups, strict=True) if split and group in leaking
    )
    present = [split for split in SPLITS if totals[split]]
    return Leaks(
        tuple(sorted(leaking)),
        {split: affected[split] for split in present},
        {split: totals[split] for split in present},
    )


def count_near_duplicates(
    splits: Sequence[str], groups: Sequence[int], *, of: str = "test", within: str = "train"
) -> int:
    """The number of images of one split with a near-duplicate in another: an image of the same group."""
    groups_within = {group for split, group in zip(splits, groups, strict=True) if split == within}
    return sum(split == of and group in groups_within for split, group in zip(splits, groups, strict=True))


def label_conflicts(
    labels: Sequence[str], photos: Sequence[int], values: np.ndarray | None = None
) -> list[LabelConflict]:
    """Photos whose images have different labels.

    Args:
        labels: of each image; of several labels their text.
        photos: number of the photo of each image; not its group, since a patient may have several labels.
        values: (N, L) of several labels: 1, 0, or -1. Images conflict if one has a label that another has
            not; an unknown value conflicts with none. None: an image has one class.
    """
    rows_of = defaultdict(list)
    for row, photo in enumerate(photos):
        rows_of[photo].append(row)
    conflicts = []
    for rows in rows_of.values():
        counts = Counter(labels[row] for row in rows)
        if len(counts) > 1 and (values is None or _contradict(values[rows])):
            conflicts.append(LabelConflict(tuple(rows), dict(counts.most_common())))
    return conflicts


def _contradict(values: np.ndarray) -> bool:
    return bool(((values == PRESENT).any(axis=0) & (values == ABSENT).any(axis=0)).any())
