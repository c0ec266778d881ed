"""Predictions of several labels per image, with their true values; all metrics are computed from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from excite.config.task import MULTICLASS, MULTILABEL, Task
from excite.data.csv_table import read_table
from excite.data.labels import LABEL, PRESENT, UNKNOWN, label_names
from excite.data.labels import parse_label_values as parse_values
from excite.data.manifest import encode_groups, normalize_name
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.decision_rule import DecisionRule
from excite.evaluation.prediction_columns import PROBABILITY, THRESHOLD
from excite.evaluation.predictions import Predictions

HALF = 0.5


@dataclass(frozen=True, eq=False)
class LabelPredictions:
    """One row per image: the value and a probability for each label.

    Args:
        targets: (N, L): 1 (present), 0 (absent), or -1 (unknown: not evaluated).
        probabilities: (N, L) that each label is present, stored as float64.
        classes: L names of labels in the order of the columns.
        groups, paths, photos: (N,) as in ``Predictions``.
        thresholds: (L,) from which a label is predicted; None: 0.5.

    Raises:
        ExciteError: without images; for mismatched shapes, and values or probabilities out of range.

    Example:
        >>> import numpy as np
        >>> targets, probabilities = np.array([[1, 0], [1, -1]]), np.array([[0.9, 0.2], [0.4, 0.7]])
        >>> found = LabelPredictions(targets, probabilities, ("a", "b"))
        >>> found.predicted.tolist(), found.of_label(1).probabilities.tolist()
        ([[True, False], [False, True]], [[0.8, 0.2]])
    """

    targets: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]
    groups: np.ndarray | None = None
    paths: tuple[str, ...] | None = None
    photos: np.ndarray | None = None
    thresholds: np.ndarray | None = None

    def __post_init__(self) -> None:
        targets = np.asarray(self.targets)
        probabilities = np.asarray(self.probabilities, dtype=np.float64)
        shape = (len(targets), len(self.classes))
        if len(targets) == 0:
            raise ExciteError("predictions need at least one image")
        if targets.shape != shape or probabilities.shape != shape:
            what = f"targets {targets.shape} and probabilities {probabilities.shape} must both be {shape}"
            raise ExciteError(what, exit_code=BAD_USAGE)
        if not np.isin(targets, (UNKNOWN, 0, PRESENT)).all():
            raise ExciteError("the value of a label must be 1, 0, or -1", exit_code=BAD_USAGE)
        if not ((probabilities >= 0) & (probabilities <= 1)).all():  # also refuses NaN
            raise ExciteError("a probability is not between 0 and 1", exit_code=BAD_USAGE)
        thresholds = np.full(shape[1], HALF) if self.thresholds is None else np.asarray(self.thresholds)
        if thresholds.shape != shape[1:] or not np.isfinite(thresholds).all():
            raise ExciteError("one threshold per label is needed", exit_code=BAD_USAGE)
        object.__setattr__(self, "targets", targets.astype(np.int64))
        object.__setattr__(self, "probabilities", probabilities)
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        object.__setattr__(self, "thresholds", thresholds.astype(np.float64))

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def limits(self) -> np.ndarray:
        """(L,) the thresholds."""
        assert self.thresholds is not None  # set in __post_init__
        return self.thresholds

    @cached_property
    def predicted(self) -> np.ndarray:
        """(N, L) whether each label is predicted: its probability reaches its threshold."""
        chosen: np.ndarray = self.probabilities >= self.limits
        return chosen

    @cached_property
    def known(self) -> np.ndarray:
        """(N, L) whether the value of each label is known."""
        known: np.ndarray = self.targets != UNKNOWN
        return known

    @cached_property
    def correct(self) -> np.ndarray:
        """(N, L) whether each label is predicted correctly; False where its value is unknown."""
        right: np.ndarray = (self.predicted == (self.targets == PRESENT)) & self.known
        return right

    @cached_property
    def group_codes(self) -> np.ndarray:
        """(N,) number of the group of each image, from 0; an image without a group is its own group."""
        if self.groups is None:
            return np.arange(len(self))
        return encode_groups(np.asarray(self.groups, dtype=object))

    @property
    def group_count(self) -> int:
        """Number of groups; an image without a group counts as one."""
        return int(self.group_codes.max()) + 1

    def class_index(self, name: str) -> int:
        """The index of a label. Raises: ExciteError with the nearest name."""
        names = [normalize_name(each) for each in self.classes]
        if normalize_name(name) not in names:
            raise unknown_name("label", name, self.classes)
        return names.index(normalize_name(name))

    def of_label(self, index: int) -> Predictions:
        """One label as a problem of two classes, ``no NAME`` and ``NAME``, on the images where it is known.

        Raises:
            ExciteError: if its value is unknown for every image.
        """
        rows = np.flatnonzero(self.known[:, index])
        name = self.classes[index]
        if not len(rows):
            raise ExciteError(f"label {name!r} is unknown for every image")
        one = self._binary(rows, np.full(len(rows), index), (f"no {name}", name))
        paths = None if self.paths is None else tuple(self.paths[row] for row in rows.tolist())
        return replace(one, paths=paths)

    def flattened(self) -> Predictions:
        """Every known value of every label as a row of two classes, ``absent`` and ``present``."""
        rows, columns = np.nonzero(self.known)
        flat = self._binary(rows, columns, ("absent", "present"))
        if self.paths is None:
            return flat
        pairs = zip(rows.tolist(), columns.tolist(), strict=True)
        paths = tuple(f"{self.paths[row]}: {self.classes[column]}" for row, column in pairs)
        return replace(flat, paths=paths)

    def _binary(self, rows: np.ndarray, columns: np.ndarray, classes: tuple[str, str]) -> Predictions:
        present = self.probabilities[rows, columns]
        return Predictions(
            (self.targets[rows, columns] == PRESENT).astype(np.int64),
            np.stack([1 - present, present], axis=1),
            classes,
            groups=self.group_codes[rows].astype(str),
            rule=DecisionRule(classes[1], self.limits[columns]),
        )

    def with_thresholds(self, thresholds: np.ndarray) -> LabelPredictions:
        """The same predictions with other thresholds (L,)."""
        return replace(self, thresholds=thresholds)

    def take(self, rows: np.ndarray) -> LabelPredictions:
        """The rows selected by a mask (N,) or by indices, with all labels."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return replace(
            self,
            targets=self.targets[rows],
            probabilities=self.probabilities[rows],
            groups=None if self.groups is None else np.asarray(self.groups, dtype=object)[rows],
            paths=None if self.paths is None else tuple(self.paths[row] for row in rows),
            photos=None if self.photos is None else np.asarray(self.photos, dtype=object)[rows],
        )


def task_of_table(path: str | Path) -> Task:
    """Whether a table of predictions is of classes or of several labels, from its header."""
    return MULTILABEL if label_names(read_table(path).header) else MULTICLASS


def read_label_predictions(path: str | Path, *, group: str = "group") -> LabelPredictions:
    """Read predictions from a CSV with ``path`` and, for each label, columns ``label:NAME`` and ``p:NAME``.

    Optional columns are ``threshold:NAME``, from which a label is predicted (one value; by default 0.5),
    ``group``, and ``photo``.

    Args:
        path: a CSV file in UTF-8. Other columns are ignored.
        group: the column with the groups; only ``group`` may be missing.

    Raises:
        ExciteError: for an unreadable file, a missing column, a field that is not a number, and as
            ``LabelPredictions``.
    """
    table = read_table(path).frame()
    names = label_names(table.columns)
    needed = ["path", *([group] if group != "group" else []), *(PROBABILITY + name for name in names)]
    missing = [name for name in needed if name not in table]
    if missing or not names:
        what = f"missing columns: {', '.join(map(repr, missing)) or repr(LABEL + 'NAME')}"
        hint = "the table needs path, and columns label:NAME and p:NAME for each label"
        raise ExciteError(what, where=path, hint=hint, exit_code=BAD_USAGE)
    targets = np.empty((len(table), len(names)), dtype=np.int64)
    for column, name in enumerate(names):
        targets[:, column], wrong = parse_values(table[LABEL + name].tolist())
        if wrong is not None:
            raise _not_a_number(path, wrong, LABEL + name, table[LABEL + name].iloc[wrong])
    probabilities = np.stack([_numbers(table, PROBABILITY + name, path) for name in names], axis=1)
    thresholds = [
        _numbers(table, THRESHOLD + name, path)[0] if THRESHOLD + name in table else HALF for name in names
    ]
    try:
        return LabelPredictions(
            targets,
            probabilities,
            tuple(map(normalize_name, names)),
            table[group].str.strip().to_numpy(dtype=object) if group in table else None,
            tuple(table["path"]),
            table["photo"].to_numpy(dtype=object) if "photo" in table else None,
            np.array(thresholds),
        )
    except ExciteError as error:
        raise ExciteError(error.what, where=path, hint=error.hint, exit_code=BAD_USAGE) from None


def _numbers(table: pd.DataFrame, column: str, path: str | Path) -> np.ndarray:
    numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(np.isnan(numbers))
    if len(wrong):
        raise _not_a_number(path, int(wrong[0]), column, table[column].iloc[wrong[0]])
    return numbers


def _not_a_number(path: str | Path, row: int, column: str, text: Any) -> ExciteError:
    return ExciteError(f"row {row + 1}: {column} is {text!r}", where=path, exit_code=BAD_USAGE)
