"""Predictions of a classifier on a set of images, with their labels; all metrics are computed from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from excite.data.csv_table import CsvTable, read_table
from excite.data.manifest import encode_groups, normalize_name
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.decision_rule import DecisionRule
from excite.evaluation.ordinal import complete_order
from excite.evaluation.prediction_columns import PROBABILITY
from excite.evaluation.threshold_column import read_rule

LARGEST_GAP = 0.01  # allowed deviation from a sum of 1: accepts rows rounded to three decimals
_DECIMAL_COMMA = r"^\s*(-?\d*),(\d+(?:[eE][-+]?\d+)?)\s*$"
ROUNDING = 1e-6  # rows with smaller deviations, as of a float32 softmax, are not normalized


@dataclass(frozen=True, eq=False)
class Predictions:
    """One row per image: the label and a probability for each class.

    Args:
        targets: (N,) class indices.
        probabilities: (N, C), rows that sum to 1, stored as float64. Rows whose sum deviates by up to 0.01
            are normalized.
        classes: C names in the order of the columns.
        groups: (N,) names of groups, such as patients; an image with "" or None is its own group. None:
            every image is its own group.
        paths: (N,) unique names of the images.
        photos: (N,) names of the photos that the images are copies of; "" or None: not a copy.
        rule: which class is predicted; None: the most probable one.
        order: the classes from the lowest to the highest; None: they have no order.

    Raises:
        ExciteError: without images; for mismatched shapes, targets outside the classes, probabilities that
            are negative, not finite or do not sum to 1, duplicate classes or paths, and empty paths.

    Example:
        >>> import numpy as np
        >>> predictions = Predictions(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]]), ("cat", "dog"))
        >>> predictions.predicted.tolist(), predictions.correct.tolist()
        ([0, 0], [True, False])
    """

    targets: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]
    groups: np.ndarray | None = None
    paths: tuple[str, ...] | None = None
    photos: np.ndarray | None = None
    rule: DecisionRule | None = None
    order: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        classes = tuple(str(name) for name in self.classes)
        targets = np.asarray(self.targets)
        probabilities = np.asarray(self.probabilities, dtype=np.float64)
        paths = None if self.paths is None else tuple(str(path) for path in self.paths)
        groups = None if self.groups is None else _names(self.groups)
        photos = None if self.photos is None else _names(self.photos)
        if len(targets) == 0:
            raise ExciteError("predictions need at least one image")
        if probabilities.shape != (len(targets), len(classes)):
            what = f"{len(targets)} targets and {len(classes)} classes need probabilities of shape"
            raise _bad(f"{what} {(len(targets), len(classes))}, got {probabilities.shape}")
        for name, values in (("group", groups), ("path", paths), ("photo", photos)):
            if values is not None and len(values) != len(targets):
                raise _bad(f"{len(values)} {name}s for {len(targets)} images: one per image is needed")
        if (duplicate := _first_duplicate(classes)) is not None:
            raise _bad(f"class {duplicate!r} occurs twice")
        if paths is not None and "" in paths:
            raise _bad(f"row {paths.index('') + 1}: the path is empty")
        if paths is not None and (duplicate := _first_duplicate(paths)) is not None:
            raise _bad(f"{duplicate} occurs twice", "keep one row per image")
        if targets.ndim != 1 or targets.dtype.kind not in "iu":
            raise _bad("targets must be whole numbers, one per image")
        outside = np.flatnonzero((targets < 0) | (targets >= len(classes)))
        if len(outside):
            place = _row_name(paths, outside[0])
            raise _bad(f"{place}: target {targets[outside[0]]} is not one of the {len(classes)} classes")
        object.__setattr__(self, "targets", targets.astype(np.int64))
        object.__setattr__(self, "probabilities", _checked_rows(probabilities, paths))
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "groups", groups)
        object.__setattr__(self, "paths", paths)
        object.__setattr__(self, "photos", photos)
        if self.rule is not None:
            self.class_index(self.rule.label)  # raises for an unknown class
            self.rule.check(len(targets))
        if self.order is not None:
            object.__setattr__(self, "order", complete_order(self.order, classes))

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(N,) the predicted class of each image: by the rule, or the most probable one."""
        if self.rule is None:
            return self.most_probable
        return self.rule.decide(self.probabilities, self.class_index(self.rule.label))

    @cached_property
    def most_probable(self) -> np.ndarray:
        """(N,) the most probable class of each image; of equals, the first."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confidences(self) -> np.ndarray:
        """(N,) the probability of the most probable class."""
        return self.probabilities.max(axis=1)

    @cached_property
    def correct(self) -> np.ndarray:
        """(N,) whether the predicted class is the label."""
        return self.predicted == self.targets

    @cached_property
    def group_codes(self) -> np.ndarray:
        """(N,) number of the group of each image, from 0; an image without a group is its own group."""
        return np.arange(len(self)) if self.groups is None else encode_groups(self.groups)

    @cached_property
    def ranks(self) -> np.ndarray | None:
        """(C,) the rank of each class in the order, from 0; None without an order."""
        if self.order is None:
            return None
        return np.array([self.order.index(normalize_name(name)) for name in self.classes])

    @property
    def group_count(self) -> int:
        """Number of groups; an image without a group counts as one."""
        return int(self.group_codes.max()) + 1

    def class_index(self, name: str) -> int:
        """The index of a class. Raises: ExciteError with the nearest name."""
        names = [normalize_name(each) for each in self.classes]
        if normalize_name(name) not in names:
            raise unknown_name("class", name, self.classes)
        return names.index(normalize_name(name))

    def take(self, rows: np.ndarray) -> Predictions:
        """The rows selected by a mask (N,) or by indices, with all classes."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        groups = None if self.groups is None else self.groups[rows]
        paths = None if self.paths is None else tuple(self.paths[row] for row in rows)
        photos = None if self.photos is None else self.photos[rows]
        return Predictions(
            self.targets[rows],
            self.probabilities[rows],
            self.classes,
            groups,
            paths,
            photos,
            None if self.rule is None else self.rule.take(rows),
            self.order,
        )

    @cached_property
    def photo_codes(self) -> np.ndarray:
        """(N,) number of the photo of each image, from 0; copies with another label are another photo."""
        codes = np.arange(len(self)) if self.photos is None else encode_groups(self.photos)
        return np.unique(codes * len(self.classes) + self.targets, return_inverse=True)[1].astype(np.int64)

    @property
    def has_copies(self) -> bool:
        """Whether some images are copies of the same photo."""
        return int(self.photo_codes.max()) + 1 < len(self)

    def by_photo(self) -> Predictions:
        """One row per photo: the mean probabilities of its copies, with the path of the first copy."""
        codes = self.photo_codes
        _, first = np.unique(codes, return_index=True)
        sums = np.zeros((len(first), len(self.classes)))
        np.add.at(sums, codes, self.probabilities)
        means = sums / np.bincount(codes)[:, None]
        rows = np.argsort(first)  # in order of first occurrence
        whole = self.take(first[rows])
        return replace(whole, probabilities=means[rows])

    def with_rule(self, rule: DecisionRule | None) -> Predictions:
        """The same predictions with another rule; None: the most probable class is predicted."""
        return replace(self, rule=rule)

    def with_order(self, order: Sequence[str]) -> Predictions:
        """The same predictions with an order of the classes, as ``ordinal.complete_order``; (): none.

        Raises:
            ExciteError: for an order that does not name every class once.
        """
        return replace(self, order=tuple(order) or None)


def read_predictions(path: str | Path, *, group: str = "group") -> Predictions:
    """Read predictions from a CSV file with ``path``, ``label`` and a column ``p:CLASS`` for each class.

    The optional columns ``group`` and ``photo`` name the group of an image and the photo that it is a copy
    of. An optional column ``threshold:CLASS`` holds the probability from which an image is predicted as
    CLASS; without one, the most probable class is predicted.

    Args:
        path: a CSV file in UTF-8. Other columns are ignored.
        group: the column with the groups; only ``group`` may be missing.

    Raises:
        ExciteError: for an unreadable file, missing or duplicate columns, a label without a column, and as
            ``Predictions``.
    """
    try:
        read = read_table(path)
    except ExciteError as error:
        raise _bad(error.what, error.hint, where=path) from error
    table = read.frame()
    needed = ["path", "label"] if group == "group" else ["path", "label", group]
    missing = [name for name in needed if name not in table]
    columns = [name for name in table.columns if name.startswith(PROBABILITY)]
    if missing or not columns:
        names = [repr(name) for name in missing] + ([] if columns else ["'p:CLASS' for each class"])
        hint = (
            "the table needs path, label and a column p:CLASS for each class, as in predictions.csv of a run"
        )
        raise _bad(f"missing columns: {', '.join(names)}", hint, where=path)
    table["label"] = [normalize_name(label) for label in table["label"]]
    classes = _classes_of(read, set(table["label"]))
    paths = tuple(table["path"])
    index = {name: number for number, name in enumerate(classes)}
    unknown = np.flatnonzero(~table["label"].isin(classes).to_numpy())
    if len(unknown):
        label = table["label"].iloc[unknown[0]]
        hint = f"classes with a column: {', '.join(classes[:12])}"
        raise _bad(f"{_row_name(paths, unknown[0])}: label {label!r} has no column 'p:{label}'", hint, path)
    if read.separator != ",":  # with another separator, commas may be decimal points
        table[columns] = table[columns].replace(_DECIMAL_COMMA, r"\1.\2", regex=True)
    numbers = table[columns].apply(pd.to_numeric, errors="coerce")
    bad = np.argwhere(numbers.isna().to_numpy())
    if len(bad):
        row, column = bad[0]
        text = table[columns].iloc[row, column]
        raise _bad(f"{_row_name(paths, row)}: {columns[column]} is {text!r}, not a number", where=path)
    targets = np.array([index[label] for label in table["label"]], dtype=np.int64)
    groups = table[group].str.strip().to_numpy(dtype=object) if group in table else None
    photos = table["photo"].to_numpy(dtype=object) if "photo" in table else None
    try:
        rule = read_rule(table)
        probabilities = numbers.to_numpy(dtype=np.float64)
        return Predictions(targets, probabilities, classes, groups, paths, photos, rule)
    except ExciteError as error:
        raise ExciteError(error.what, where=path, hint=error.hint, exit_code=BAD_USAGE) from None


def _classes_of(table: CsvTable, labels: set[str]) -> tuple[str, ...]:
    """The classes with a column; spaces around a name are kept only if the labels have them, too."""
    classes = []
    for name in table.written:
        if name.strip().startswith(PROBABILITY):
            exact = normalize_name(name.lstrip().removeprefix(PROBABILITY))
            classes.append(exact.strip() if exact not in labels and exact.strip() in labels else exact)
    return tuple(classes)


def _checked_rows(probabilities: np.ndarray, paths: Sequence[str] | None) -> np.ndarray:
    """The rows, normalized if they sum to about 1. Raises: ExciteError for invalid probabilities."""
    wrong = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(wrong):
        raise _bad(f"{_row_name(paths, wrong[0])}: a probability is not finite")
    wrong = np.flatnonzero((probabilities < 0).any(axis=1))
    if len(wrong):
        hint = "if these are logits, apply softmax"
        raise _bad(
            f"{_row_name(paths, wrong[0])}: negative probability {probabilities[wrong[0]].min():g}", hint
        )
    sums = probabilities.sum(axis=1)
    gaps = np.abs(sums - 1)
    if gaps.max() > LARGEST_GAP:
        worst = int(gaps.argmax())
        what = f"{_row_name(paths, worst)}: the probabilities sum to {sums[worst]:.4g} instead of 1"
        count = int((gaps > LARGEST_GAP).sum())
        percent = np.abs(sums - 100).max() <= 100 * LARGEST_GAP
        hint = (
            "if these are percentages, divide them by 100" if percent else "check whether a class is missing"
        )
        raise _bad(what + (f" ({count} such rows)" if count > 1 else ""), hint)
    return np.where(gaps[:, None] > ROUNDING, probabilities / sums[:, None], probabilities)


def _names(groups: Iterable[Any]) -> np.ndarray:
    """(N,) Unicode-normalized text; "" for missing values: None, NaN and pandas' NA."""
    names = [
        "" if name is None or name is pd.NA or name != name else normalize_name(str(name)) for name in groups
    ]
    return np.array(names, dtype=object)


def _first_duplicate(names: Sequence[str]) -> str | None:
    if len(set(names)) == len(names):
        return None
    return next(name for name, count in Counter(names).items() if count > 1)


def _row_name(paths: Sequence[str] | None, row: int) -> str:
    return f"row {row + 1}" if paths is None else f"row {row + 1} ({paths[row]})"


def _bad(what: str, hint: str | None = None, where: object = None) -> ExciteError:
    return ExciteError(what, where=where, hint=hint, exit_code=BAD_USAGE)
