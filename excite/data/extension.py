"""Extend a split to new images: old images keep their split, new ones join their group or are allocated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from excite.config.task import MULTILABEL
from excite.data.allocation import Allocation
from excite.data.label_allocation import LabelAllocation, label_counts
from excite.data.manifest import SPLITS, Manifest
from excite.data.split import HASH_ORDER, check_groups_per_class, unit_keys
from excite.errors import BAD_USAGE, ExciteError

FOLD_COLUMN = re.compile(r"fold_(\d+)")


@dataclass(frozen=True)
class Conflict:
    """A new image whose group is in several splits, or folds.

    Args:
        path: of the new image.
        column: ``split`` or the name of the column of folds.
        examples: for each split or fold, the path of an image of the group.
    """

    path: str
    column: str
    examples: dict[str, str]

    def __str__(self) -> str:
        kind = "" if self.column == "split" else f"{self.column} = "
        places = ", ".join(f"{path} ({kind}{value})" for value, path in self.examples.items())
        return f"{self.path} is in one group with images on different sides: {places}"


@dataclass(frozen=True)
class Extension:
    """An extended split.

    Args:
        manifest: the images with their splits, without those in ``conflicts``.
        retained: number of images that keep their split.
        added: number of new images.
        vanished: paths in the earlier manifest that the data no longer has.
        conflicts: new images that were left out, since either choice would separate a group.
    """

    manifest: Manifest
    retained: int
    added: int
    vanished: tuple[str, ...]
    conflicts: tuple[Conflict, ...]


def extend_split(
    images: Manifest, earlier: Manifest, *, grouped: bool, seed: int, fractions: Sequence[float]
) -> Extension:
    """Give new images a split, and columns ``fold_0``, ... a fold, without moving an old one.

    Images are matched by path, and files that were moved or renamed by content. A new image of an old group
    goes where its group is. New groups are allocated as by ``split_manifest``, so that all images together
    come as close to the fractions as they can; a split that the earlier manifest lacks stays empty.

    Args:
        images: all images, old and new, with their groups.
        earlier: the manifest to extend; each row has a split.
        grouped: keep groups together; otherwise each new image is allocated by itself.
        seed: of the allocation of new groups.
        fractions: fractions of train, val, and test.

    Raises:
        ExciteError: if the earlier manifest has no split, no image of it is in the data, or a new class has
            fewer groups than there are parts.
    """
    if not earlier.splits:
        hint = "name a table that excite split has written"
        raise ExciteError("the manifest to extend has no column split", hint=hint, exit_code=BAD_USAGE)
    matched = match_rows(images, earlier)
    if not (matched >= 0).any():
        what = "the data has none of the images of the manifest to extend"
        raise ExciteError(what, hint="without --extend all images get a new split", exit_code=BAD_USAGE)
    units = images.group_codes() if grouped else np.arange(len(images))
    columns: dict[str, np.ndarray] = {}
    conflicts: dict[int, Conflict] = {}
    for name in ("split", *filter(FOLD_COLUMN.fullmatch, map(str, earlier.table.columns))):
        values = earlier.table[name].astype(str).to_numpy(dtype=object)
        known = np.where(matched >= 0, values[matched], "")
        new_conflicts = _inherit(images, units, known, name)
        conflicts = new_conflicts | conflicts
        if name == "split":
            parts = [split for split in HASH_ORDER if split in earlier.splits]
            shares = np.array([fractions[SPLITS.index(split)] for split in parts])
            own_seed = seed
        else:
            parts = sorted(set(values.tolist()), key=int)
            shares, own_seed = np.ones(len(parts)), seed + int(name.removeprefix("fold_"))
        keys = unit_keys(images, units, grouped=grouped)
        _allocate(images, units, keys, known, (parts, shares / shares.sum()), own_seed, list(new_conflicts))
        columns[name] = known
    keep = np.setdiff1d(np.arange(len(images)), list(conflicts))
    table = images.with_columns(**columns).table.iloc[keep]
    lost = np.setdiff1d(np.arange(len(earlier)), matched)
    retained = int((matched >= 0).sum())
    return Extension(
        Manifest(table, images.classes, images.left_out, images.extremes, images.intensity_range),
        retained,
        len(keep) - retained,
        tuple(earlier.table["path"].iloc[lost]),
        tuple(conflicts[row] for row in sorted(conflicts)),
    )


def match_rows(images: Manifest, earlier: Manifest) -> np.ndarray:
    """The row of each image in the earlier manifest, (N,); -1 for a new image."""
    row_of = {path: row for row, path in enumerate(earlier.table["path"])}
    matched = np.array([row_of.get(path, -1) for path in images.table["path"]], dtype=np.int64)
    unmatched: dict[str, list[int]] = {}
    for row in np.setdiff1d(np.arange(len(earlier)), matched)[::-1].tolist():
        if digest := earlier.table["sha256"].iloc[row]:
            unmatched.setdefault(digest, []).append(row)
    for row in np.flatnonzero(matched < 0).tolist():
        if rows := unmatched.get(images.table["sha256"].iloc[row]):
            matched[row] = rows.pop()
    return matched


def with_earlier_groups(images: Manifest, earlier: Manifest) -> Manifest:
    """The images with the groups of the earlier manifest where they have none."""
    matched = match_rows(images, earlier)
    own = images.table["group"].to_numpy(dtype=object)
    known = np.where(matched >= 0, earlier.table["group"].to_numpy(dtype=object)[matched], "")
    return images.with_columns(group=np.where(own == "", known, own))


def _inherit(images: Manifest, units: np.ndarray, known: np.ndarray, column: str) -> dict[int, Conflict]:
    """Fill ``known`` of new images whose group is in one part; those whose group is in several, by row."""
    paths = images.table["path"].tolist()
    places: dict[int, dict[str, str]] = {}
    for row in np.flatnonzero(known != "").tolist():
        places.setdefault(int(units[row]), {}).setdefault(known[row], paths[row])
    conflicts = {}
    for row in np.flatnonzero(known == "").tolist():
        parts = places.get(int(units[row]), {})
        if len(parts) > 1:
            conflicts[row] = Conflict(paths[row], column, parts)
        elif parts:
            known[row] = next(iter(parts))
    return conflicts


def _allocate(
    images: Manifest,
    units: np.ndarray,
    keys: Sequence[str],
    known: np.ndarray,
    parts: tuple[list[str], np.ndarray],
    seed: int,
    excluded: list[int],
) -> None:
    """Fill ``known`` of the images of new groups, in proportion to the shares of the parts."""
    names, shares = parts
    new = np.setdiff1d(np.flatnonzero(known == ""), excluded)
    if not len(new):
        return
    targets = images.targets()
    old = np.flatnonzero(known != "")
    number = {name: part for part, name in enumerate(names)}
    places = np.array([number[value] for value in known[old]])
    included = np.setdiff1d(np.arange(len(images)), excluded)
    rest = Manifest(images.table.iloc[included], images.classes)
    check_groups_per_class(rest, units[included], len(names), noun="groups or images")
    own, codes = np.unique(units[new], return_inverse=True)
    own_keys = [keys[unit] for unit in own]
    if images.task == MULTILABEL:
        by_labels = LabelAllocation(codes, targets[new], own_keys, seed)
        allocated = by_labels.parts(shares, label_counts(places, targets[old], len(names)))
    else:
        before = np.zeros((len(names), len(images.classes)))
        np.add.at(before, (places, targets[old]), 1)
        allocated = Allocation(codes, targets[new], own_keys, len(images.classes), seed).parts(shares, before)
    known[new] = np.array(names, dtype=object)[allocated[codes]]
