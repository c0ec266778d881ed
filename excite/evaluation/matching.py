"""Match two sets of predictions: the same images in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.predictions import Predictions


def shared_images(first: Predictions, second: Predictions) -> tuple[Predictions, Predictions]:
    """Both predictions on their shared images, with the order, classes, groups and photos of the first.

    Images are matched by path; without paths the rows must correspond.

    Raises:
        ExciteError: for different classes, no shared images, and a shared image with two labels.
    """
    if set(first.classes) != set(second.classes):
        odd = sorted(set(first.classes) ^ set(second.classes))[0]
        raise ExciteError(f"the classes differ: only one of the predictions has {odd!r}", exit_code=BAD_USAGE)
    order = np.array([second.classes.index(name) for name in first.classes])
    rows, others = _matched(first, second)
    # Where class c of the second stands among the first's classes.
    targets = np.argsort(order)[second.targets[others]]
    different = np.flatnonzero(targets != first.targets[rows])
    if len(different):
        row = rows[different[0]]
        name = first.paths[row] if first.paths else f"row {row + 1}"
        labels = first.classes[first.targets[row]], first.classes[targets[different[0]]]
        raise ExciteError(f"{name} has label {labels[0]!r} in one and {labels[1]!r} in the other")
    one = first.take(rows)
    probabilities = second.probabilities[others][:, order]
    rule = None if second.rule is None else second.rule.take(others)
    return one, replace(one, probabilities=probabilities, rule=rule)


def _matched(first: Predictions, second: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the shared images in the first and in the second."""
    if first.paths is None or second.paths is None:
        if len(first) != len(second):
            what = f"{len(first)} and {len(second)} images without paths cannot be matched"
            raise ExciteError(what, exit_code=BAD_USAGE)
        return np.arange(len(first)), np.arange(len(first))
    place = {path: row for row, path in enumerate(second.paths)}
    pairs = [(row, place[path]) for row, path in enumerate(first.paths) if path in place]
    if not pairs:
        raise ExciteError("the predictions share no images", hint="images are matched by path")
    rows, others = np.array(pairs).T
    return rows, others


def mean_of_repeats(repeats: Sequence[Predictions]) -> Predictions:
    """The mean of each image's out-of-fold probabilities over the repeats of a cross-validation.

    Args:
        repeats: predictions from ``folds.pool``, matched by path.

    Returns:
        in the order of the first repeat, without a rule.

    Raises:
        ExciteError: as ``matched_repeats``.
    """
    matched = matched_repeats(repeats)
    mean = np.mean([one.probabilities for one in matched], axis=0)
    return replace(repeats[0], probabilities=mean, rule=None)


def matched_repeats(repeats: Sequence[Predictions]) -> list[Predictions]:
    """The repeats with their images in the order of the first.

    Raises:
        ExciteError: without repeats, and for repeats of different images.
    """
    if not repeats:
        raise ExciteError("no repeats to average")
    matched = [shared_images(repeats[0], other)[1] for other in repeats]
    if any(len(one) != len(other) for one in matched for other in (repeats[0], *repeats)):
        raise ExciteError("the repeats contain different images")
    return matched
