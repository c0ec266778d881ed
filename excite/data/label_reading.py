"""Read several labels of each image from a table: a 0/1 column for each, or one column of names."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from excite.data.labels import LABEL, label_names, parse_label_values, split_label_texts
from excite.errors import BAD_USAGE, ExciteError, unknown_name


@dataclass(frozen=True)
class LabelFormat:
    """How a table holds several labels of an image; the default means one class per image.

    Args:
        columns: names of the columns with 0 and 1, separated by commas; each is a label.
        separator: between the names in the label column, such as ``|``.
        empty: the name in that column that stands for an image without any label; an empty field does, too.
    """

    columns: str = ""
    separator: str = ""
    empty: str = "No Finding"

    @property
    def given(self) -> bool:
        """Whether an image may have several labels."""
        return bool(self.columns or self.separator)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in order."""
        return tuple(name.strip() for name in self.columns.split(",")) if self.columns else ()

    def check(self) -> None:
        """Raises: ExciteError if both ways are chosen, or a column is named twice."""
        if self.columns and self.separator:
            what = "--label-columns and --label-separator are mutually exclusive"
            raise ExciteError(what, exit_code=BAD_USAGE)
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        if twice:
            raise ExciteError(f"names {twice[0]!r} twice", where="--label-columns", exit_code=BAD_USAGE)


def read_labels(
    table: pd.DataFrame, labels: LabelFormat, label_column: str | None, file: Path
) -> tuple[tuple[str, ...], pd.DataFrame]:
    """The labels, and a column ``label:NAME`` of 1, 0, and -1 for each; -1 is unknown.

    Args:
        table: text, with the columns of the file.
        labels: how they are held; by default as in a manifest that was saved.
        label_column: the column of names, for a separator.

    Raises:
        ExciteError: for a column that the file does not have, and a field that is not 0, 1, -1, or empty.
    """
    labels.check()
    if labels.separator:
        assert label_column is not None
        texts = table[label_column].tolist()
        names, values = split_label_texts(texts, labels.separator, labels.empty)
        if not (values.sum(axis=1) > 1).any():
            what = f"no field of column {label_column!r} holds more than one label separated by "
            what += repr(labels.separator)
            raise ExciteError(what, where=file, hint="check --label-separator; for classes, omit it")
        return names, _frame(names, values)
    saved = label_names(table.columns)  # of a manifest that was saved
    columns = [LABEL + name if name in saved else name for name in labels.names or saved]
    parsed = []
    for column in columns:
        if column not in table:
            raise unknown_name("column", column, list(table.columns), where=f"{file}: --label-columns")
        values, wrong = parse_label_values(table[column].tolist())
        if wrong is not None:
            what = f"row {wrong + 1}: {column} is {table[column].iloc[wrong]!r}, expected 0 or 1"
            raise ExciteError(what, where=file, hint="an unknown value is empty or -1")
        parsed.append(values)
    names = labels.names or saved
    return names, _frame(names, np.stack(parsed, axis=1))


def _frame(names: tuple[str, ...], values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values, columns=pd.Index([LABEL + name for name in names]))
