"""Metrics of classes that have an order, such as grades of a disease: how far predictions are from the truth.

The rank of a class is its place in the order, from 0. A mistake by two ranks weighs as much as four mistakes
by one in the quadratic weighted kappa, and as much as two in the mean absolute error.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence

import numpy as np

from excite.data.manifest import normalize_name
from excite.errors import BAD_USAGE, ExciteError, unknown_name

BY_CLASSES = "classes"
"""Instead of names: the order that the classes already have."""
OPTION = "--ordinal"


def parse_order(text: str | None) -> tuple[str, ...]:
    """The names in text that separates them by commas; a name with a comma is in quotation marks.

    >>> parse_order('none, mild,"severe, treated"')
    ('none', 'mild', 'severe, treated')
    """
    if not text:
        return ()
    return tuple(normalize_name(name.strip()) for name in next(csv.reader([text], skipinitialspace=True)))


def format_order(order: Sequence[str]) -> str:
    """What ``parse_order`` reads.

    >>> format_order(("none", "mild, or so"))
    'none,"mild, or so"'
    """
    return ",".join(
        f'"{name.replace(chr(34), 2 * chr(34))}"' if set(name) & set(',"') else name for name in order
    )


def complete_order(order: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """The names of all classes in their order.

    Args:
        order: the names, or ``("classes",)`` for the order of ``classes``.
        classes: all classes.

    Raises:
        ExciteError: for an unknown class, one that is missing, and one that is named twice.

    >>> complete_order(("none", "mild", "severe"), ("mild", "none", "severe"))
    ('none', 'mild', 'severe')
    """
    names = tuple(map(normalize_name, classes))
    if tuple(order) == (BY_CLASSES,) and BY_CLASSES not in names:
        return names
    for name in order:
        if name not in names:
            raise unknown_name("class", name, names, where=OPTION)
    if len(set(order)) < len(order):
        twice = next(name for name in order if list(order).count(name) > 1)
        raise ExciteError(f"class {twice!r} is named twice", where=OPTION, exit_code=BAD_USAGE)
    if missing := [name for name in names if name not in order]:
        what, hint = f"the order lacks class {missing[0]!r}", "name every class, the lowest first"
        raise ExciteError(what, where=OPTION, hint=hint, exit_code=BAD_USAGE)
    return tuple(order)


def ordinal_terms(ranks: np.ndarray, targets: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(3, N) of each image: squared distance of the ranks, distance, and whether it is one.

    Args:
        ranks: (C,) of the classes.
        targets, predicted: (N,) classes.
    """
    distances = np.abs(ranks[targets] - ranks[predicted]).astype(np.float64)
    return np.stack([distances**2, distances, distances == 1])


def ordinal_metrics(
    sums: np.ndarray, true: np.ndarray, predicted: np.ndarray, ranks: np.ndarray
) -> dict[str, np.ndarray]:
    """Name -> (B,), the metrics of ``metrics.ORDINAL``.

    Quadratic weighted kappa (Cohen 1968) is 1 minus the mean squared distance over the one that labels and
    predictions would have if they were independent. Without images of two classes it is undefined.

    Args:
        sums: (3, B) sums of ``ordinal_terms``.
        true, predicted: (C, B) images of each class, and images predicted as it.
        ranks: (C,) of the classes.
    """
    images = true.sum(axis=0)
    squares = (ranks.astype(np.float64) ** 2) @ (true + predicted)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = squares - 2 * (ranks @ true) * (ranks @ predicted) / images
        several = (true > 0).sum(axis=0) > 1
        return {
            "quadratic_kappa": np.where(several, 1 - sums[0] / expected, np.nan),
            "mean_absolute_error": sums[1] / images,
            "off_by_one": sums[2] / images,
        }
