"""What a split lets through: photos on both sides of it, and photos under two labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from excite.data.manifest import SPLITS


@dataclass(frozen=True)
class Leaks:
    """Groups that straddle a given split.

    Args:
        groups: the numbers of the groups that do.
        images: for each split, how many of its images have a sibling in another one.
        totals: for each split, how many images it has.
    """

    groups: tuple[int, ...]
    images: dict[str, int]
    totals: dict[str, int]

    def __bool__(self) -> bool:
        return bool(self.groups)

    def fraction(self, split: str) -> float:
        """The fraction of a split's images with a near-duplicate in another split; 0 for an empty split."""
        return self.images[split] / self.totals[split] if self.totals.get(split) else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "groups": len(self.groups),
            "images": self.images,
            "fractions": {split: round(self.fraction(split), 6) for split in self.images},
        }


@dataclass(frozen=True)
class LabelConflict:
    """One photo under two labels or more.

    Args:
        images: rows of the manifest.
        labels: how many of them have each label, the most frequent first.
    """

    images: tuple[int, ...]
    labels: dict[str, int]


def find_leaks(splits: Sequence[str], groups: Sequence[int]) -> Leaks:
    """Which groups lie in more than one split.

    Args:
        splits: train, val, test or "" (in none) of each image.
        groups: the group's number of each image.
    """
    homes = defaultdict(set)
    for split, group in zip(splits, groups, strict=True):
        if split:
            homes[group].add(split)
    torn = {group for group, parts in homes.items() if len(parts) > 1}
    totals = Counter(split for split in splits if split)
    affected = Counter(split for split, group in zip(splits, groups, strict=True) if split and group in torn)
    present = [split for split in SPLITS if totals[split]]
    return Leaks(
        tuple(sorted(torn)),
        {split: affected[split] for split in present},
        {split: totals[split] for split in present},
    )


def count_near_duplicates(
    splits: Sequence[str], groups: Sequence[int], *, of: str = "test", within: str = "train"
) -> int:
    """How many images of one split have a sibling in another one."""
    known = {group for split, group in zip(splits, groups, strict=True) if split == within}
    return sum(split == of and group in known for split, group in zip(splits, groups, strict=True))


def label_conflicts(labels: Sequence[str], photos: Sequence[int]) -> list[LabelConflict]:
    """Photos whose images do not all have one label.

    Args:
        photos: the number of the photo that each image shows. A group that a person named, such as a patient,
            may well have several labels and is not meant here.
    """
    members = defaultdict(list)
    for row, photo in enumerate(photos):
        members[photo].append(row)
    found = []
    for rows in members.values():
        counts = Counter(labels[row] for row in rows)
        if len(counts) > 1:
            found.append(LabelConflict(tuple(rows), dict(counts.most_common())))
    return found
