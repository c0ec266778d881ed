"""Iterative stratification: groups of images with several labels, allocated to parts.

Sechidis, Tsoumakas & Vlahavas 2011, "On the stratification of multi-label data", with the pairs of labels of
Szymański & Kajdanowicz 2017, "A network perspective on stratification of multi-label data". Both allocate
images; here groups are the units, which count with all of their images.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np

from excite.data.allocation import hash_of
from excite.data.labels import ABSENT, PRESENT
from excite.errors import ExciteError


class LabelAllocation:
    """Groups of images, allocated to parts in the proportions of every label and every pair of labels.

    Of the labels, and pairs of labels, that groups without a part still have, the rarest comes first. Each of
    its groups goes, the largest first, to the part that still wants most images with it; of equal parts to
    the one that wants most images at all; of equal ones to the one that a hash of the seed and the group's
    key chooses. Groups without any label come last.

    Args:
        units: the group of each image, a number from 0 without gaps, (N,).
        values: 1, 0, or -1 (unknown) for each image and label, (N, L).
        keys: one text for each group.
        seed: of the hashes.
    """

    def __init__(self, units: np.ndarray, values: np.ndarray, keys: Sequence[str], seed: int) -> None:
        count = len(keys)
        self.sizes, self.content = label_counts(units, values, count)
        pairs = combinations_with_replacement(range(values.shape[1]), 2)
        self.labels = np.flatnonzero([i == j for i, j in pairs])
        absent = (values == ABSENT).astype(np.float64)
        self.absent = np.stack([np.bincount(units, column, count) for column in absent.T], axis=1)
        hashes = [hash_of(seed, key) for key in keys]
        self.rank = np.empty(count, dtype=np.int64)
        self.rank[sorted(range(count), key=lambda unit: (hashes[unit], keys[unit]))] = np.arange(count)
        self.hashes = hashes

    def parts(self, shares: np.ndarray, before: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
        """The part of each group, (U,) int64, with images with and without every label in every part.

        Args:
            shares: (P,) fractions that sum to 1.
            before: ``label_counts`` of the images that are in the parts already; the groups make up for their
                excess.

        Raises:
            ExciteError: if no group can be moved to a part without images with, or without, a label.
        """
        images, columns = before or (np.zeros(len(shares)), np.zeros((len(shares), self.content.shape[1])))
        wanted = np.outer(shares, self.content.sum(axis=0) + columns.sum(axis=0)) - columns
        room = shares * (self.sizes.sum() + images.sum()) - images
        parts = np.full(len(self.rank), -1)
        left = (self.content > 0).sum(axis=0)
        while left.any():
            rarest = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
            members = np.flatnonzero((self.content[:, rarest] > 0) & (parts < 0))
            order = np.lexsort((self.rank[members], -self.sizes[members], -self.content[members, rarest]))
            for unit in members[order].tolist():
                parts[unit] = self._choose(wanted[:, rarest], room, unit)
                wanted[parts[unit]] -= self.content[unit]
                room[parts[unit]] -= self.sizes[unit]
                left -= self.content[unit] > 0
        rest = np.flatnonzero(parts < 0)
        for unit in rest[np.lexsort((self.rank[rest], -self.sizes[rest]))].tolist():
            parts[unit] = self._choose(room, room, unit)
            room[parts[unit]] -= self.sizes[unit]
        if before is None:
            self._fill(parts, len(shares))
        return parts

    def _choose(self, wanted: np.ndarray, room: np.ndarray, unit: int) -> int:
        """The part that wants most; of equal ones, the one with most room."""
        best = np.flatnonzero(wanted >= wanted.max() - 1e-9)
        best = best[room[best] >= room[best].max() - 1e-9]
        return int(best[self.hashes[unit] % len(best)])

    def _fill(self, parts: np.ndarray, count: int) -> None:
        """Give each part images with and without each label."""
        content = np.concatenate([self.content[:, self.labels], self.absent], axis=1)
        holders = np.zeros((count, content.shape[1]), dtype=np.int64)
        np.add.at(holders, parts, content > 0)
        while (missing := np.argwhere(holders == 0)).size:
            part, column = missing[0]
            candidates = np.flatnonzero(content[:, column] > 0)
            order = np.lexsort((self.rank[candidates], self.sizes[candidates]))
            for unit in candidates[order]:
                held = content[unit] > 0
                if (holders[parts[unit], held] > 1).all():
                    holders[parts[unit], held] -= 1
                    holders[part, held] += 1
                    parts[unit] = part
                    break
            else:
                what = "no split with whole groups was found that has images with and without every label in "
                hint = "leave out the rarest labels, or use fewer parts"
                raise ExciteError(f"{what}each of {count} parts", hint=hint)


def label_counts(units: np.ndarray, values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of each of U units, (U,), and those with each label or pair of labels, (U, K).

    Args:
        units: the number of the unit of each image, (N,).
        values: (N, L).
    """
    present = (values == PRESENT).astype(np.float64)
    pairs = combinations_with_replacement(range(values.shape[1]), 2)
    columns = [np.bincount(units, present[:, i] * present[:, j], count) for i, j in pairs]
    return np.bincount(units, minlength=count).astype(np.float64), np.stack(columns, axis=1)
