"""Splits into train, val, and test, and into folds: stratified by class or labels, with whole groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from excite.config.task import MULTILABEL
from excite.data.allocation import Allocation
from excite.data.label_allocation import LabelAllocation
from excite.data.labels import ABSENT, PRESENT
from excite.data.manifest import SPLITS, Manifest, check_classes
from excite.errors import BAD_USAGE, ExciteError, unknown_name

METHODS = ("random", "grouped", "folder")
FRACTIONS = (0.7, 0.1, 0.2)
HASH_ORDER = SPLITS[::-1]  # test comes first, so that it does not depend on the fraction of val


def split_manifest(
    manifest: Manifest,
    *,
    method: str,
    seed: int,
    fractions: Sequence[float] = FRACTIONS,
    test_from: str = "train",
) -> Manifest:
    """Assign every image to train, val, or test, with every class in each of them.

    Args:
        method: ``random`` draws images; ``grouped`` draws whole groups; ``folder`` keeps the split of the
            data, and draws a missing val or test from its train, by groups if it has any.
        seed: of the random draws.
        fractions: fractions of train, val, and test, which are met as closely as whole images or groups
            allow.
        test_from: ``val`` makes the given validation images the test images, where the data has none.

    Raises:
        ExciteError: if there is no such split, with the reason.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"path": [f"/{i}.png" for i in range(20)], "label": ["a", "b"] * 10})
        >>> split = split_manifest(Manifest(table, ("a", "b")), method="random", seed=0)
        >>> {name: len(split.part(name)) for name in split.splits}
        {'train': 14, 'val': 2, 'test': 4}
    """
    if method not in METHODS:
        raise unknown_name("split method", method, METHODS)
    _check_fractions(fractions)
    if test_from == "val":
        manifest = _test_on_val(manifest, method)
    if method == "folder":
        return _completed(manifest, fractions, seed)
    parts = _draw(manifest, fractions[::-1], seed, grouped=method == "grouped")
    return manifest.with_columns(split=np.array(HASH_ORDER, dtype=object)[parts])


def folds(manifest: Manifest, k: int, *, seed: int, method: str) -> np.ndarray:
    """The fold of every image, a number from 0 to k - 1, (N,) int64.

    Args:
        method: ``random`` draws images, ``grouped`` whole groups.

    Raises:
        ExciteError: if a class has fewer images or groups than there are folds, or a group is larger than a
            fold.
    """
    if method not in METHODS[:2]:
        raise unknown_name("fold method", method, METHODS[:2])
    if k < 2:
        raise ExciteError(f"the number of folds must be at least 2, got {k}", exit_code=BAD_USAGE)
    return _draw(manifest, [1 / k] * k, seed, grouped=method == "grouped")


def repeated_folds(manifest: Manifest, k: int, repeats: int, *, seed: int, method: str) -> np.ndarray:
    """The folds of every image in each repeat, (N, repeats) int64; column r has the folds of ``seed + r``.

    Raises:
        ExciteError: as ``folds`` does.
    """
    if repeats < 1:
        raise ExciteError(f"the number of repeats must be at least 1, got {repeats}", exit_code=BAD_USAGE)
    return np.stack([folds(manifest, k, seed=seed + r, method=method) for r in range(repeats)], axis=1)


def apply_group_pattern(manifest: Manifest, pattern: str, *, strict: bool = True) -> Manifest:
    r"""The manifest with groups from the file names.

    Args:
        pattern: a regular expression, searched in the file name; its first capture group is the group of the
            image, or the whole match if it has none.
        strict: refuse a pattern that puts all images into one group, or each image into its own.

    Raises:
        ExciteError: if it is not a regular expression, a name does not match, or the pattern is refused.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"path": ["/P1_a.png", "/P1_b.png", "/P2_a.png"], "label": "x"})
        >>> apply_group_pattern(Manifest(table, ("x",)), r"^(P\d+)_").table["group"].tolist()
        ['P1', 'P1', 'P2']
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        what = f"group pattern {pattern!r} is not a regular expression: {error}"
        raise ExciteError(what, exit_code=BAD_USAGE) from error
    number = min(1, expression.groups)
    paths = manifest.table["path"].tolist()
    matches = [expression.search(PurePath(path).name) for path in paths]
    groups = [(match[number] or "") if match else "" for match in matches]
    if "" in groups:
        what = f"group pattern {pattern!r} does not match {groups.count('')} of {len(paths)} file names"
        raise ExciteError(what, where=paths[groups.index("")], exit_code=BAD_USAGE)
    distinct = len(set(groups))
    if strict and len(paths) > 1 and distinct in (1, len(paths)):
        what = "puts all images into one group" if distinct == 1 else "puts every image into its own group"
        raise ExciteError(f"group pattern {pattern!r} {what}: {groups[0]!r}", exit_code=BAD_USAGE)
    return manifest.with_columns(group=groups)


def _check_largest_group(manifest: Manifest, units: np.ndarray, shares: np.ndarray) -> None:
    """Refuse a group larger than the largest part, since the other parts would be too small."""
    sizes = np.bincount(units)
    largest, n, share = int(sizes.max()), len(manifest), float(shares.max())
    if largest <= np.ceil(share * n - 1e-9):
        return
    name = manifest.table["group"].iloc[int(np.flatnonzero(units == sizes.argmax())[0])]
    k = len(shares)
    if np.allclose(shares, share):
        limit, possible_folds = f"fit into one of {k} folds: {n} / {k} = {n / k:.1f}", n // largest
    else:
        limit, possible_folds = f"fit into the largest part: {share:.2f} * {n} = {share * n:.1f}", 0
    advice = f"use at most {possible_folds} folds, or " if possible_folds >= 2 else ""
    what = f"group {name!r} has {largest} of {n} images, more than {limit}"
    raise ExciteError(what, hint=f"{advice}check whether this is really one group", exit_code=BAD_USAGE)


def _check_fractions(fractions: Sequence[float]) -> None:
    if len(fractions) != 3 or not all(share > 0 for share in fractions) or abs(sum(fractions) - 1) > 1e-6:
        given = ", ".join(f"{share:g}" for share in fractions)
        what = f"the fractions of train, val, and test must be positive and sum to 1, got {given}"
        raise ExciteError(what, exit_code=BAD_USAGE)


def _test_on_val(manifest: Manifest, method: str) -> Manifest:
    """The given validation images as test images. Raises: ExciteError if there are none, or a given test."""
    what = ""
    if method != "folder":
        what = "has no effect: the split of the data is not used"
    elif "test" in manifest.splits:
        what = "has no effect: the data has test images"
    elif "val" not in manifest.splits:
        what = "the data has no validation images"
    if what:
        raise ExciteError(what, where="--test-from val", hint="omit it", exit_code=BAD_USAGE)
    return manifest.with_columns(split=manifest.table["split"].replace("val", "test"))


def _completed(manifest: Manifest, fractions: Sequence[float], seed: int) -> Manifest:
    if "train" not in manifest.splits:
        hint = "arrange train, val, and test folders, or add a split column; or choose random or grouped"
        raise ExciteError("the data has no images in train", hint=hint)
    check_classes(manifest)
    names = [name for name in HASH_ORDER if name == "train" or name not in manifest.splits]
    if names == ["train"]:
        return manifest
    shares = np.array([fractions[SPLITS.index(name)] for name in names])
    train = manifest.part("train")
    parts = _draw(train, shares / shares.sum(), seed, grouped=bool(train.table["group"].any()))
    column = manifest.table["split"].to_numpy(dtype=object, copy=True)
    column[column == "train"] = np.array(names, dtype=object)[parts]
    return manifest.with_columns(split=column)


def _draw(
    manifest: Manifest,
    shares: Sequence[float] | np.ndarray,
    seed: int,
    *,
    grouped: bool,
) -> np.ndarray:
    """The part of every image, a number (N,); images, or whole groups, are drawn."""
    if grouped and not manifest.table["group"].any():
        hint = "add a group column or a group pattern, or split at random"
        raise ExciteError("the images have no groups", hint=hint, exit_code=BAD_USAGE)
    units = manifest.group_codes() if grouped else np.arange(len(manifest))
    check_groups_per_class(manifest, units, len(shares), noun="groups" if grouped else "images")
    if grouped:
        _check_largest_group(manifest, units, np.asarray(shares))
    keys = unit_keys(manifest, units, grouped=grouped)
    if manifest.task == MULTILABEL:
        return LabelAllocation(units, manifest.targets(), keys, seed).parts(np.asarray(shares))[units]
    allocation = Allocation(units, manifest.targets(), keys, len(manifest.classes), seed)
    return allocation.parts(np.asarray(shares))[units]


def check_groups_per_class(manifest: Manifest, units: np.ndarray, parts: int, *, noun: str) -> None:
    """Raises: ExciteError for a class or label with fewer groups, or images, than there are parts."""
    if manifest.task == MULTILABEL:
        for name, values in zip(manifest.classes, manifest.targets().T, strict=True):
            for value, word in ((PRESENT, "with"), (ABSENT, "without")):
                count = len(np.unique(units[values == value]))
                if count < parts:
                    what = f"{count} {noun} {word} label {name!r}; {parts} parts need at least {parts}"
                    raise ExciteError(what, hint="add images, leave the label out, or use fewer parts")
        return
    class_of_group = np.unique(units * len(manifest.classes) + manifest.targets()) % len(manifest.classes)
    for name, count in zip(
        manifest.classes, np.bincount(class_of_group, minlength=len(manifest.classes)), strict=True
    ):
        if count < parts:
            what = f"class {name!r} has {count} {noun}; {parts} parts need at least {parts}"
            raise ExciteError(what, hint="add images, leave the class out, or use fewer parts")


def unit_keys(manifest: Manifest, units: np.ndarray, *, grouped: bool) -> list[str]:
    """What stays the same about each group, or image, when others come and go.

    It is the name of the group, or of a single image the hash of its file, or its path before the check.
    """
    first = manifest.table.iloc[np.unique(units, return_index=True)[1]]
    key = first["sha256"].where(first["sha256"] != "", first["path"])
    if grouped:
        key = first["group"].where(first["group"] != "", key)
    return key.tolist()
