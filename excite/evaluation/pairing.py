"""Two sets of predictions brought to the same images in the same order."""

from __future__ import annotations

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
