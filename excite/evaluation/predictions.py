"""Predictions: what a classifier said of a set of images, beside the truth. Every figure is made from one."""

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

PREFIX = "p:"  # a column of probabilities is named p:CLASS
LARGEST_GAP = 0.01  # from a sum of 1: rows rounded to three decimals pass, percentages and logits do not
_DECIMAL_COMMA = r"^\s*(-?\d*),(\d+(?:[eE][-+]?\d+)?)\s*$"
ROUNDING = 1e-6  # below this a row is taken as it is; float32 softmax stays well under it


@dataclass(frozen=True, eq=False)
class Predictions:
    """One row an image: the truth and a probability for each class.

    Args:
        targets: (N,) class indices.
        probabilities: (N, C), rows that sum to 1; kept as float64. Rows that rounding has moved by up to
            0.01 are divided by their sum.
        classes: C names in the order of the columns.
        groups: (N,) names of what must not be torn apart, such as patients; "" or None (missing): a group of
            its own. None altogether: every image is.
        paths: (N,) names of the images, each once.
        photos: (N,) names of the photos that the images are copies of; "", None: no other image shows it.

    Raises:
        ExciteError: no images, shapes that do not fit, targets that are no class, probabilities that are
            negative, not finite or do not sum to 1, a class or a path that occurs twice, an empty path.
    """

    targets: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]
    groups: np.ndarray | None = None
    paths: tuple[str, ...] | None = None
    photos: np.ndarray | None = None

    def __post_init__(self) -> None:
        classes = tuple(str(name) for name in self.classes)
        targets = np.asarray(self.targets)
        probabilities = np.asarray(self.probabilities, dtype=np.float64)
        paths = None if self.paths is None else tuple(str(path) for path in self.paths)
        groups = None if self.groups is None else _names(self.groups)
        photos = None if self.photos is None else _names(self.photos)
        if len(targets) == 0:
            raise ExciteError("there are no images to measure on")
        if probabilities.shape != (len(targets), len(classes)):
            what = f"{len(targets)} targets and {len(classes)} classes need probabilities of shape"
            raise _bad(f"{what} {(len(targets), len(classes))}, not {probabilities.shape}")
        for name, values in (("group", groups), ("path", paths), ("photo", photos)):
            if values is not None and len(values) != len(targets):
                raise _bad(f"one {name} an image is needed: {len(values)} for {len(targets)} images")
        if (twice := _first_twice(classes)) is not None:
            raise _bad(f"class {twice!r} is named twice")
        if paths is not None and "" in paths:
            raise _bad(f"row {paths.index('') + 1}: the path is empty")
        if paths is not None and (twice := _first_twice(paths)) is not None:
            raise _bad(f"{twice} is there twice", "keep one row an image")
        if targets.ndim != 1 or targets.dtype.kind not in "iu":
            raise _bad("targets are whole numbers, one an image")
        outside = np.flatnonzero((targets < 0) | (targets >= len(classes)))
        if len(outside):
            place = _place(paths, outside[0])
            raise _bad(f"{place}: target {targets[outside[0]]} is none of the {len(classes)} classes")
        object.__setattr__(self, "targets", targets.astype(np.int64))
        object.__setattr__(self, "probabilities", _checked_rows(probabilities, paths))
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "groups", groups)
        object.__setattr__(self, "paths", paths)
        object.__setattr__(self, "photos", photos)

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(N,) the likeliest class of each image; of equals the first."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confidences(self) -> np.ndarray:
        """(N,) the probability of the likeliest class."""
        return self.probabilities.max(axis=1)

    @cached_property
    def correct(self) -> np.ndarray:
        """(N,) whether the likeliest class is the true one."""
        return self.predicted == self.targets

    @cached_property
    def group_codes(self) -> np.ndarray:
        """(N,) each image's group as a number from 0; an image without a group is one of its own."""
        return np.arange(len(self)) if self.groups is None else encode_groups(self.groups)

    @property
    def group_count(self) -> int:
        return int(self.group_codes.max()) + 1

    def class_index(self, name: str) -> int:
        """Where a class stands in ``classes``. Raises: ExciteError with the nearest name."""
        names = [normalize_name(each) for each in self.classes]
        if normalize_name(name) not in names:
            raise unknown_name("class", name, self.classes)
        return names.index(normalize_name(name))

    def take(self, rows: np.ndarray) -> Predictions:
        """The rows of a mask (N,) or of indices; the classes stay."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        groups = None if self.groups is None else self.groups[rows]
        paths = None if self.paths is None else tuple(self.paths[row] for row in rows)
        photos = None if self.photos is None else self.photos[rows]
        return Predictions(self.targets[rows], self.probabilities[rows], self.classes, groups, paths, photos)

    @cached_property
    def photo_codes(self) -> np.ndarray:
        """(N,) each image's photo as a number from 0; copies under another label count as another photo."""
        codes = np.arange(len(self)) if self.photos is None else encode_groups(self.photos)
        return np.unique(codes * len(self.classes) + self.targets, return_inverse=True)[1].astype(np.int64)

    @property
    def has_copies(self) -> bool:
        """Whether some of the images are copies of one photo."""
        return int(self.photo_codes.max()) + 1 < len(self)

    def by_photo(self) -> Predictions:
        """One row a photo: the mean of what was said of its copies, under the path of the first of them.

        Fourteen copies of a photo are one witness; what is said of all of them together is what a user
        gets who asks about all of them.
        """
        codes = self.photo_codes
        _, first = np.unique(codes, return_index=True)
        sums = np.zeros((len(first), len(self.classes)))
        np.add.at(sums, codes, self.probabilities)
        means = sums / np.bincount(codes)[:, None]
        rows = np.argsort(first)  # in the order in which they come
        whole = self.take(first[rows])
        return replace(whole, probabilities=means[rows])


def read_predictions(path: str | Path, *, group: str = "group") -> Predictions:
    """Read a table of predictions: ``path``, ``label`` and ``p:CLASS`` for each class, one row an image.

    Columns ``group`` and ``photo`` say which images belong together, and which are copies of one photo.

    Args:
        path: a CSV file in UTF-8. Columns beside those above are left alone.
        group: the column with the groups; a table may be without the standard one.

    Raises:
        ExciteError: one line that names the file: unreadable, columns missing or there twice, a label outside
            the classes, and whatever ``Predictions`` refuses.
    """
    try:
        read = read_table(path)
    except ExciteError as error:
        raise _bad(error.what, error.hint, where=path) from error
    table = read.frame()
    needed = ["path", "label"] if group == "group" else ["path", "label", group]
    missing = [name for name in needed if name not in table]
    columns = [name for name in table.columns if name.startswith(PREFIX)]
    if missing or not columns:
        names = [repr(name) for name in missing] + ([] if columns else ["'p:CLASS' for each class"])
        hint = "a run's predictions.csv shows the form: path, label and a column p:CLASS for each class"
        raise _bad(f"columns missing: {', '.join(names)}", hint, where=path)
    table["label"] = [normalize_name(label) for label in table["label"]]
    classes = _classes_of(read, set(table["label"]))
    paths = tuple(table["path"])
    index = {name: number for number, name in enumerate(classes)}
    unknown = np.flatnonzero(~table["label"].isin(classes).to_numpy())
    if len(unknown):
        label = table["label"].iloc[unknown[0]]
        hint = f"classes with a column: {', '.join(classes[:12])}"
        raise _bad(f"{_place(paths, unknown[0])}: label {label!r} has no column 'p:{label}'", hint, path)
    if read.separator != ",":  # where fields are not separated by commas, decimals may be
        table[columns] = table[columns].replace(_DECIMAL_COMMA, r"\1.\2", regex=True)
    numbers = table[columns].apply(pd.to_numeric, errors="coerce")
    bad = np.argwhere(numbers.isna().to_numpy())
    if len(bad):
        row, column = bad[0]
        text = table[columns].iloc[row, column]
        raise _bad(f"{_place(paths, row)}: {columns[column]} is {text!r}, not a number", where=path)
    targets = np.array([index[label] for label in table["label"]], dtype=np.int64)
    groups = table[group].str.strip().to_numpy(dtype=object) if group in table else None
    photos = table["photo"].to_numpy(dtype=object) if "photo" in table else None
    try:
        return Predictions(targets, numbers.to_numpy(dtype=np.float64), classes, groups, paths, photos)
    except ExciteError as error:
        raise ExciteError(error.what, where=path, hint=error.hint, exit_code=BAD_USAGE) from None


def _classes_of(table: CsvTable, labels: set[str]) -> tuple[str, ...]:
    """The classes that have a column; spaces around a name are part of it only where labels have them."""
    classes = []
    for name in table.written:
        if name.strip().startswith(PREFIX):
            exact = normalize_name(name.lstrip().removeprefix(PREFIX))
            classes.append(exact.strip() if exact not in labels and exact.strip() in labels else exact)
    return tuple(classes)


def _checked_rows(probabilities: np.ndarray, paths: Sequence[str] | None) -> np.ndarray:
    """The rows, each summing to 1 as closely as the reader of a table may expect."""
    wrong = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(wrong):
        raise _bad(f"{_place(paths, wrong[0])}: a probability is not a finite number")
    wrong = np.flatnonzero((probabilities < 0).any(axis=1))
    if len(wrong):
        hint = "are these logits? softmax makes probabilities of them"
        raise _bad(f"{_place(paths, wrong[0])}: probability {probabilities[wrong[0]].min():g}", hint)
    sums = probabilities.sum(axis=1)
    gaps = np.abs(sums - 1)
    if gaps.max() > LARGEST_GAP:
        worst = int(gaps.argmax())
        what = f"{_place(paths, worst)}: the probabilities sum to {sums[worst]:.4g}, not to 1"
        count = int((gaps > LARGEST_GAP).sum())
        percent = np.abs(sums - 100).max() <= 100 * LARGEST_GAP
        hint = "are these percentages? divide them by 100" if percent else "is a class missing?"
        raise _bad(what + (f" ({count} such rows)" if count > 1 else ""), hint)
    return np.where(gaps[:, None] > ROUNDING, probabilities / sums[:, None], probabilities)


def _names(groups: Iterable[Any]) -> np.ndarray:
    """(N,) text, composed; "" for what is missing: None, pandas' NA, and NaN, which does not equal itself."""
    names = [
        "" if name is None or name is pd.NA or name != name else normalize_name(str(name)) for name in groups
    ]
    return np.array(names, dtype=object)


def _first_twice(names: Sequence[str]) -> str | None:
    if len(set(names)) == len(names):
        return None
    return next(name for name, count in Counter(names).items() if count > 1)


def _place(paths: Sequence[str] | None, row: int) -> str:
    return f"row {row + 1}" if paths is None else f"row {row + 1} ({paths[row]})"


def _bad(what: str, hint: str | None = None, where: object = None) -> ExciteError:
    return ExciteError(what, where=where, hint=hint, exit_code=BAD_USAGE)
