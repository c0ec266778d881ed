"""Whether the rarer class has enough groups for an interval or a test."""

from __future__ import annotations

from excite.evaluation.intervals import too_few
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums

FEWEST_OF_A_CLASS = 3  # groups; with fewer, no method holds its level (benchmarks/intervals.py grid)
ENOUGH_OF_A_CLASS = 5  # groups; with fewer, intervals rest on what theory expects of such an estimate


def rarer_class(predictions: Predictions, table: GroupSums, index: int | None) -> tuple[int, str | None]:
    """The smaller number of groups, with a class or without it, and the name of the class with so few.

    Args:
        predictions: the predictions.
        table: their sums.
        index: the class; None: the class with the fewest groups of those that occur.

    Returns:
        the name is None if several classes together have so few groups.
    """
    names, occurs = predictions.classes, [bool(true.any()) for true in table.class_images]
    candidates = [number for number in range(len(names)) if occurs[number]] if index is None else [index]
    groups, chosen = min((table.groups_beside(number), number) for number in candidates)
    for number in [chosen, *range(len(names))]:
        if int((table.class_images[number] > 0).sum()) == groups:
            return groups, names[number]
    return groups, None


def class_reason(predictions: Predictions, table: GroupSums, index: int | None = None) -> str | None:
    """Why a metric that depends on the classes has no interval; None if it has one.

    In a mean over three or more classes, a class with too few groups matters less.
    """
    if index is None and sum(bool(true.any()) for true in table.class_images) > 2:
        return None
    groups, label = rarer_class(predictions, table, index)
    return too_few(groups, label, FEWEST_OF_A_CLASS) if groups < FEWEST_OF_A_CLASS else None


def class_warning(predictions: Predictions, table: GroupSums, index: int | None = None) -> str | None:
    """The warning that a class has few groups; None if it has enough."""
    groups, label = rarer_class(predictions, table, index)
    if groups >= ENOUGH_OF_A_CLASS:
        return None
    counted = "1 group" if groups == 1 else f"{groups} groups"
    whose = "" if label is None else f" of class {label!r}"
    return f"{counted}{whose}; about {ENOUGH_OF_A_CLASS} are needed"
