"""Allocate groups to parts by cutting a hash order, so that a new group moves few others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from excite.errors import ExciteError

_GOLDEN = (5**0.5 - 1) / 2


class Allocation:
    """Groups of images, allocated to parts in the proportions of every class.

    Groups of one class and one size (1; 2 and 3; 4 to 7; ...) are ranked by a hash of the seed and their key,
    and each part takes one stretch of the ranks. Larger groups are allocated first, smaller ones make up for
    what these exceed or miss; groups with several classes come before those with one. Therefore the part of a
    group does not depend on groups of other classes, nor on smaller ones, and a new group shifts the ends of
    the stretches of its own class by about its size. (An exception is a part that would be left without a
    class: it gets the nearest group of that class.)

    At each end, the images of a class differ from its fraction by at most its largest group, if each of its
    groups has one class. A new image that is a group of its own moves at most one other image past each end.

    Args:
        units: the group of each image, a number from 0 without gaps, (N,).
        targets: the class of each image, (N,).
        keys: one text for each group, by which it is ranked.
        classes: number of classes.
        seed: of the ranking.
    """

    def __init__(
        self, units: np.ndarray, targets: np.ndarray, keys: Sequence[str], classes: int, seed: int
    ) -> None:
        held, images = np.unique(units * classes + targets, return_counts=True)
        self.unit, self.label, self.images = held // classes, held % classes, images
        self.classes, self.seed = classes, seed
        self.sizes = np.bincount(units, minlength=len(keys))
        self.levels = np.frexp(np.maximum(self.sizes, 1))[1] - 1  # size 2**level to 2**(level + 1) - 1
        self.rank = np.empty(len(keys), dtype=np.int64)
        hashes = [hash_of(seed, key) for key in keys]
        self.rank[sorted(range(len(keys)), key=lambda unit: (hashes[unit], keys[unit]))] = np.arange(
            len(keys)
        )
        self.several = np.bincount(self.unit, minlength=len(keys)) > 1
        pure = ~self.several[self.unit]
        self.of_class = np.full(len(keys), -1)
        self.of_class[self.unit[pure]] = self.label[pure]

    def parts(self, shares: np.ndarray, before: np.ndarray | None = None) -> np.ndarray:
        """The part of each group, (U,) int64, with every class in every part.

        Args:
            shares: (P,) fractions that sum to 1. The stretches of the hash order have the order of the parts.
            before: (P, C) images that are in the parts already; the groups make up for their excess.

        Raises:
            ExciteError: if no group can be moved to a part that lacks a class.
        """
        upto = np.cumsum(shares)[:-1]
        before = np.zeros((len(shares), self.classes)) if before is None else before
        # For each cut and class: images before the cut, in excess of the fraction.
        excess = np.cumsum(before, axis=0)[:-1] - np.outer(upto, before.sum(axis=0))
        parts = np.zeros(len(self.rank), dtype=np.int64)
        self._cut_mixed(parts, upto, excess)
        offset = hash_of(self.seed, "") / 2**64
        for label in range(self.classes):
            members = np.flatnonzero(self.of_class == label)
            # Some classes are rounded up and others down, so that the sums over many small classes are right;
            # multiples of the golden ratio spread the choice evenly.
            rounding = (offset + label * _GOLDEN) % 1
            for stretch in self._stretches(members):
                ends = _cut(self.sizes[stretch], upto, excess[:, label], rounding)
                parts[stretch] = np.searchsorted(ends, np.arange(len(stretch)), side="right")
        self._fill(parts, len(shares), before > 0)
        return parts

    def _stretches(self, members: np.ndarray) -> list[np.ndarray]:
        """Groups of equal level in the order of their hashes, the largest level first."""
        members = members[np.argsort(self.rank[members])]
        levels = self.levels[members]
        return [members[levels == level] for level in np.unique(levels)[::-1]]

    def _cut_mixed(self, parts: np.ndarray, upto: np.ndarray, excess: np.ndarray) -> None:
        """Cut the groups with several classes, and add what they exceed to ``excess``.

        Each cut is where the classes come closest to their fractions, among the places where the number of
        images is right to within the largest group.
        """
        members = np.flatnonzero(self.several)
        if not len(members):
            return
        content = np.zeros((len(members), self.classes))
        row = np.full(len(self.rank), -1)
        row[members] = np.arange(len(members))
        mixed = self.several[self.unit]
        content[row[self.unit[mixed]], self.label[mixed]] = self.images[mixed]
        weight = 1 / np.maximum(content.sum(axis=0), 1) ** 2
        for stretch in self._stretches(members):
            sums = np.vstack([np.zeros(self.classes), np.cumsum(content[row[stretch]], axis=0)])
            images, slack = sums.sum(axis=1), 2.0 ** (self.levels[stretch[0]] + 1)
            ends = np.zeros(len(upto), dtype=np.int64)
            for cut, share in enumerate(upto):
                wanted = share * sums[-1] - excess[cut]
                near = np.abs(images - np.clip(wanted.sum(), 0, images[-1])) <= slack
                near[: ends[cut - 1] if cut else 0] = False
                error = ((sums - wanted) ** 2 * weight).sum(axis=1)
                ends[cut] = np.argmin(np.where(near, error, np.inf)) if near.any() else ends[cut - 1]
                excess[cut] += sums[ends[cut]] - share * sums[-1]
            parts[stretch] = np.searchsorted(ends, np.arange(len(stretch)), side="right")

    def _fill(self, parts: np.ndarray, count: int, before: np.ndarray) -> None:
        """Give each part a group of each class."""
        holders = before.astype(np.int64)
        np.add.at(holders, (parts[self.unit], self.label), 1)
        for label in np.flatnonzero((holders == 0).any(axis=0)).tolist():
            members = np.flatnonzero(self.of_class == label)
            for part in np.flatnonzero(holders[:, label] == 0).tolist():
                if not self._shift(parts, holders[:, label], part, members):
                    self._move_mixed(parts, holders, part, label)

    def _shift(self, parts: np.ndarray, holders: np.ndarray, part: int, members: np.ndarray) -> bool:
        """Move the ends of the stretches of one class so that ``part`` gets a group; False if none is free.

        The smallest groups of a part that has several are used. Each part on the way passes one on, as if the
        hash order had been cut with at least one group for each part.
        """
        free = members[holders[parts[members]] > 1]
        if not len(free):
            return False
        level = self.levels[free].min()
        members = members[self.levels[members] == level]
        donors = parts[free[self.levels[free] == level]]
        donor = int(donors[np.argmin(np.abs(donors - part))])
        step = 1 if donor > part else -1
        receiver = part
        for giver in range(part + step, donor + step, step):
            groups = members[parts[members] == giver]
            if not len(groups):
                continue
            moved = groups[np.argmin(step * self.rank[groups])]
            parts[moved], receiver = receiver, giver
        holders[part] += 1
        holders[donor] -= 1
        return True

    def _move_mixed(self, parts: np.ndarray, holders: np.ndarray, part: int, label: int) -> None:
        """Move the smallest group that holds a class from a part that keeps all its classes."""
        candidates = self.unit[(self.label == label) & (parts[self.unit] != part)]
        for unit in candidates[np.lexsort((self.rank[candidates], self.levels[candidates]))]:
            content = self.label[self.unit == unit]
            if (holders[parts[unit], content] > 1).all():
                holders[parts[unit], content] -= 1
                holders[part, content] += 1
                parts[unit] = part
                return
        what = f"no split with whole groups was found that has every class in each of {len(holders)} parts"
        raise ExciteError(what, hint="check the groups that contain several classes, or use fewer parts")


def hash_of(seed: int, key: str) -> int:
    """64 bits of a hash, the same on every machine."""
    text = f"{seed}\0{key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _cut(sizes: np.ndarray, upto: np.ndarray, excess: np.ndarray, rounding: float) -> np.ndarray:
    """The number of groups before each cut, (P - 1,); ``excess`` (P - 1,) becomes that after these groups.

    A group is before a cut if its first ``1 - rounding`` is, or its first half where not even one group fits,
    since a part that is smaller than a group must not often receive one.
    """
    sums = np.cumsum(sizes)
    ends = np.zeros(len(upto), dtype=np.int64)
    for cut, share in enumerate(upto):
        wanted = share * sums[-1] - excess[cut]
        fraction = np.where(wanted + 1e-9 >= sizes, 1 - rounding, 0.5)
        inside = sums - sizes + fraction * sizes <= wanted + 1e-9
        ends[cut] = len(sizes) if inside.all() else np.argmin(inside)
        ends[cut] = max(ends[cut], ends[cut - 1]) if cut else ends[cut]
        excess[cut] += (sums[ends[cut] - 1] if ends[cut] else 0) - share * sums[-1]
    return ends
