"""Several labels per image: their columns in a table, and their values.

An image of a multi-label data set may have any number of the labels. Each label has a column ``label:NAME``
with 1 (present), 0 (absent), or -1 (unknown: not recorded, or uncertain), as in the tables of CheXpert.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

PRESENT, ABSENT, UNKNOWN = 1, 0, -1
LABEL = "label:"  # prefix of a column
SEPARATOR = "|"  # between the labels of an image, in text
_VALUES: Mapping[str, int] = {
    **dict.fromkeys(("1", "1.0", "true", "yes"), PRESENT),
    **dict.fromkeys(("0", "0.0", "false", "no"), ABSENT),
    **dict.fromkeys(("", "-1", "-1.0", "nan", "na"), UNKNOWN),
}


def label_names(columns: Iterable[object]) -> tuple[str, ...]:
    """The labels among the names of columns, in their order; none of a table with one class per image.

    >>> label_names(["path", "label:mass", "label:nodule", "group"])
    ('mass', 'nodule')
    """
    return tuple(str(name).removeprefix(LABEL) for name in columns if str(name).startswith(LABEL))


def parse_label_values(texts: Sequence[str]) -> tuple[np.ndarray, int | None]:
    """(N,) int64 values of a column of text, and the first row that holds something else, or None.

    >>> parse_label_values(["1", "0.0", "", "-1"])[0].tolist()
    [1, 0, -1, -1]
    """
    keys = [text.strip().lower() for text in texts]
    wrong = next((row for row, key in enumerate(keys) if key not in _VALUES), None)
    return np.array([_VALUES.get(key, UNKNOWN) for key in keys], dtype=np.int64), wrong


def split_label_texts(texts: Sequence[str], separator: str, empty: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The labels in a column of separated names, sorted, and their values (N, L).

    Args:
        separator: between the names.
        empty: the name that stands for an image without any label.

    >>> split_label_texts(["mass|nodule", "No Finding", "mass"], "|", "No Finding")[1].tolist()
    [[1, 1], [0, 0], [1, 0]]
    """
    rows = [{name.strip() for name in text.split(separator)} - {"", empty} for text in texts]
    names = tuple(sorted(set().union(*rows)))
    index = {name: number for number, name in enumerate(names)}
    values = np.zeros((len(rows), len(names)), dtype=np.int64)
    for row, present in enumerate(rows):
        values[row, [index[name] for name in present]] = PRESENT
    return names, values


def label_texts(values: np.ndarray, names: Sequence[str]) -> list[str]:
    """The names of the labels that are present in each row of values (N, L), as text; "" if none is.

    >>> label_texts(np.array([[1, 1], [0, -1]]), ("mass", "nodule"))
    ['mass|nodule', '']
    """
    rows, index = np.unique(np.asarray(values) == PRESENT, axis=0, return_inverse=True)
    texts = [SEPARATOR.join(names[k] for k in np.flatnonzero(row).tolist()) for row in rows]
    return [texts[number] for number in index.ravel().tolist()]
