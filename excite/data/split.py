"""Splits into train, val and test, and into folds: classes in proportion, groups never torn apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from excite.data.manifest import SPLITS, Manifest, check_classes
from excite.errors import BAD_USAGE, ExciteError, unknown_name

METHODS = ("random", "grouped", "folder")
FRACTIONS = (0.7, 0.1, 0.2)
_TRIES = 16


def split_manifest(
    manifest: Manifest,
    *,
    method: str,
    seed: int,
    fractions: Sequence[float] = FRACTIONS,
) -> Manifest:
    """The manifest with every image in train, val or test, and every class in each of them.

    Args:
        method: ``random`` draws images; ``grouped`` draws whole groups; ``folder`` keeps what the data
            says, and draws a val or test that it lacks out of its train, by groups where it has any.
        fractions: shares of train, val and test; met as near as whole images or groups allow.

    Raises:
        ExciteError: when no such split exists, with the reason.
    """
    if method not in METHODS:
        raise unknown_name("split method", method, METHODS)
    _check_fractions(fractions)
    if method == "folder":
        return _completed(manifest, fractions, seed)
    parts = _draw(manifest, fractions, seed, grouped=method == "grouped")
    return manifest.with_columns(split=np.array(SPLITS, dtype=object)[parts])


def folds(manifest: Manifest, k: int, *, seed: int, method: str) -> np.ndarray:
    """A fold number from 0 to k - 1 for every image, (N,) int64; ``random`` by image or ``grouped``.

    Raises:
        ExciteError: when a class has fewer images or groups than there are folds, or a group is larger than
            a fold.
    """
    if method not in METHODS[:2]:
        raise unknown_name("fold method", method, METHODS[:2])
    if k < 2:
        raise ExciteError(f"at least 2 folds are needed, not {k}", exit_code=BAD_USAGE)
    return _draw(manifest, [1 / k] * k, seed, grouped=method == "grouped")


def repeated_folds(manifest: Manifest, k: int, repeats: int, *, seed: int, method: str) -> np.ndarray:
    """Fold numbers of every image, (N, repeats) int64; column r holds the folds of ``seed + r``.

    Raises:
        ExciteError: as ``folds`` does.
    """
    if repeats < 1:
        raise ExciteError(f"at least 1 repeat is needed, not {repeats}", exit_code=BAD_USAGE)
    return np.stack([folds(manifest, k, seed=seed + r, method=method) for r in range(repeats)], axis=1)


def apply_group_pattern(manifest: Manifest, pattern: str, *, strict: bool = True) -> Manifest:
    """The manifest with groups taken from the file names.

    Args:
        pattern: a regular expression searched for in the name without its folder; its first capture
            group is the image's group, or the whole match where it has none.
        strict: refuse a pattern that gives all images one group, or each image a group of its own.

    Raises:
        ExciteError: when it is not a regular expression, a name does not match, or it is refused.
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
        what = "puts all images into one group" if distinct == 1 else "makes every image a group of its own"
        raise ExciteError(f"group pattern {pattern!r} {what}: {groups[0]!r}", exit_code=BAD_USAGE)
    return manifest.with_columns(group=groups)


def _check_largest_group(manifest: Manifest, units: np.ndarray, shares: np.ndarray) -> None:
    """Refuse parts of which even the largest is overflown by a group: the others would starve in silence."""
    sizes = np.bincount(units)
    largest, n, share = int(sizes.max()), len(manifest), float(shares.max())
    if largest <= np.ceil(share * n - 1e-9):
        return
    name = manifest.table["group"].iloc[int(np.flatnonzero(units == sizes.argmax())[0])]
    k = len(shares)
    if np.allclose(shares, share):
        more, fewer = f"one of {k} folds: {n} / {k} = {n / k:.1f}", n // largest
    else:
        more, fewer = f"the largest part may: {share:.2f} * {n} = {share * n:.1f}", 0
    advice = f"make at most {fewer} folds, or " if fewer >= 2 else ""
    what = f"group {name!r} holds {largest} of {n} images, more than {more}"
    raise ExciteError(what, hint=f"{advice}look whether that group is one", exit_code=BAD_USAGE)


def _check_fractions(fractions: Sequence[float]) -> None:
    if len(fractions) != 3 or not all(share > 0 for share in fractions) or abs(sum(fractions) - 1) > 1e-6:
        given = ", ".join(f"{share:g}" for share in fractions)
        what = f"fractions are three numbers above 0 that sum to 1 (train, val, test), not {given}"
        raise ExciteError(what, exit_code=BAD_USAGE)


def _completed(manifest: Manifest, fractions: Sequence[float], seed: int) -> Manifest:
    if "train" not in manifest.splits:
        hint = "arrange train, val and test folders or fill a split column; or choose random or grouped"
        raise ExciteError("the data names no images for train", hint=hint)
    check_classes(manifest)
    names = ["train", *(name for name in SPLITS if name not in manifest.splits)]
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
    """A part number for every image, (N,): whole units are drawn, an image or a group each."""
    if grouped and not manifest.table["group"].any():
        hint = "give a group column or a group pattern, or split at random"
        raise ExciteError("the images have no groups to keep together", hint=hint, exit_code=BAD_USAGE)
    units = manifest.group_codes() if grouped else np.arange(len(manifest))
    content: list[dict[int, int]] = [{} for _ in range(units.max(initial=-1) + 1)]
    for unit, target in zip(units.tolist(), manifest.targets().tolist(), strict=True):
        content[unit][target] = content[unit].get(target, 0) + 1
    holders = np.bincount([t for unit in content for t in unit], minlength=len(manifest.classes))
    for name, count in zip(manifest.classes, holders, strict=True):
        if count < len(shares):
            noun = "groups" if grouped else "images"
            what = f"class {name!r} has {count} {noun}; {len(shares)} parts need at least {len(shares)}"
            raise ExciteError(what, hint="add images, leave the class out, or make fewer parts")
    if grouped:
        _check_largest_group(manifest, units, np.asarray(shares))
    wanted = _wanted(np.array(list(manifest.counts().values())), np.asarray(shares))
    sizes = np.array([sum(unit.values()) for unit in content])
    generator = np.random.default_rng(seed)
    best, least = None, np.inf
    for _ in range(max(1, min(_TRIES, 20_000 // max(1, len(content))))):
        # Large units first, small ones fill the gaps; the jitter is what lets seeds differ.
        order = np.argsort(
            -sizes * generator.uniform(1, 2, len(sizes)) if grouped else generator.random(len(sizes))
        )
        places, error = _place(content, order, wanted, holders)
        if error < least:
            best, least = places, error
    if best is None:
        what = f"found no way to put every class into each of {len(shares)} parts with the groups kept whole"
        raise ExciteError(what, hint="groups that hold several classes leave too little choice")
    return best[units]


def _wanted(totals: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Whole numbers of images, (parts, classes): each within one of its share, at least one.

    What rounding gives or takes in one class is made up for in the next, so that the sums are met too.
    """
    exact = np.outer(shares, totals)
    wanted = np.maximum(np.floor(exact + 1e-9), 1)
    owed = np.zeros(len(shares))
    for column, total in enumerate(totals):
        while (rest := total - wanted[:, column].sum()) != 0:
            need = exact[:, column] - wanted[:, column] + owed
            if rest < 0:
                need[wanted[:, column] <= 1] = np.inf
            wanted[np.argmax(need) if rest > 0 else np.argmin(need), column] += np.sign(rest)
        owed += exact[:, column] - wanted[:, column]
    return wanted


def _place(
    content: list[dict[int, int]], order: np.ndarray, wanted: np.ndarray, holders: np.ndarray
) -> tuple[np.ndarray, float]:
    """Units into parts one by one, each to where its classes are missed most; and how far off that ends.

    A class that has just enough units left for the parts that still lack it goes to one of those first.
    The error is the sum of squared shortfalls, relative to each class's size; infinite when a part ends
    without a class.
    """
    weight = (1 / wanted.sum(axis=0) ** 2).tolist()
    short = wanted.tolist()
    parts = range(len(short))
    lacking = [set(parts) for _ in weight]
    waiting = holders.tolist()
    places = np.zeros(len(content), dtype=np.int64)
    for unit in order.tolist():
        held = content[unit].items()
        urgent = [target for target, _ in held if waiting[target] <= len(lacking[target])]

        def merit(part: int) -> tuple[int, float]:
            need = sum(weight[target] * count * short[part][target] for target, count in held)  # noqa: B023
            return sum(part in lacking[target] for target in urgent), need  # noqa: B023

        chosen = max(parts, key=merit)
        places[unit] = chosen
        for target, count in held:
            short[chosen][target] -= count
            waiting[target] -= 1
            lacking[target].discard(chosen)
    if any(lacking):
        return places, float("inf")
    return places, float((np.square(short) * weight).sum())
