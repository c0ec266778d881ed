"""Two sets of predictions brought to the same images in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.predictions import Predictions


def shared_images(first: Predictions, second: Predictions) -> tuple[Predictions, Predictions]:
    """Both on the images that both have, with the first's order, order of classes, groups and photos.

    Images are matched by path; without paths the rows must correspond.

    Raises:
        ExciteError: other classes, no shared images, or a shared image with two labels.
    """
    if set(first.classes) != set(second.classes):
        odd = sorted(set(first.classes) ^ set(second.classes))[0]
        raise ExciteError(f"the classes differ: only one of the two has {odd!r}", exit_code=BAD_USAGE)
    order = np.array([second.classes.index(name) for name in first.classes])
    rows, others = _matched(first, second)
    # Where class c of the second stands among the first's classes.
    targets = np.argsort(order)[second.targets[others]]
    different = np.flatnonzero(targets != first.targets[rows])
    if len(different):
        row = rows[different[0]]
        name = first.paths[row] if first.paths else f"row {row + 1}"
        labels = first.classes[first.targets[row]], first.classes[targets[different[0]]]
        raise ExciteError(f"{name} is {labels[0]!r} in one and {labels[1]!r} in the other")
    one = first.take(rows)
    probabilities = second.probabilities[others][:, order]
    return one, replace(one, probabilities=probabilities)


def _matched(first: Predictions, second: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the first and of the second that are the same images."""
    if first.paths is None or second.paths is None:
        if len(first) != len(second):
            what = f"{len(first)} and {len(second)} images without paths cannot be matched"
            raise ExciteError(what, exit_code=BAD_USAGE)
        return np.arange(len(first)), np.arange(len(first))
    place = {path: row for row, path in enumerate(second.paths)}
    pairs = [(row, place[path]) for row, path in enumerate(first.paths) if path in place]
    if not pairs:
        raise ExciteError("the two have no image in common", hint="images are matched by path")
    rows, others = np.array(pairs).T
    return rows, others


def mean_of_repeats(repeats: Sequence[Predictions]) -> Predictions:
    """The mean of each image's out-of-fold probabilities over the repeats of a cross-validation.

    Args:
        repeats: pooled predictions, as ``folds.pool`` gives them, matched by path.

    Returns:
        in the order of the first repeat.

    Raises:
        ExciteError: as ``matched_repeats``.
    """
    matched = matched_repeats(repeats)
    mean = np.mean([one.probabilities for one in matched], axis=0)
    return replace(repeats[0], probabilities=mean)


def matched_repeats(repeats: Sequence[Predictions]) -> list[Predictions]:
    """The repeats with their images in the order of the first.

    Raises:
        ExciteError: no repeats, or repeats of other images.
    """
    if not repeats:
        raise ExciteError("there are no repeats to average")
    matched = [shared_images(repeats[0], other)[1] for other in repeats]
    if any(len(one) != len(other) for one in matched for other in (repeats[0], *repeats)):
        raise ExciteError("the repeats are not of the same images")
    return matched
