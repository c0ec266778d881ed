"""Checks of a data set whose images may have several labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from excite.data.labels import ABSENT, PRESENT, UNKNOWN
from excite.errors import BAD_USAGE, ExciteError

FEWEST = 2  # images with a label, and without it


def check_labels(
    names: Sequence[str], values: np.ndarray, splits: Mapping[str, np.ndarray], where: object
) -> None:
    """Refuse labels that cannot be trained on and evaluated.

    Args:
        names: L labels.
        values: of all images, (N, L): 1, 0, or -1.
        splits: likewise of the images of each split.
        where: the source, for errors.

    Raises:
        ExciteError: for fewer than two labels, labels of which every image has exactly one, a label with
            fewer than two images that have it or that do not, and a split without either.
    """
    if len(names) < 2:
        what = f"at least two labels are needed, found {', '.join(map(repr, names)) or 'none'}"
        raise ExciteError(what, where=where, hint="one yes/no column is a class: use --label-column")
    if (values != UNKNOWN).all() and (values.sum(axis=1) == 1).all():
        what = f"every image has exactly one of the {len(names)} labels: these are classes"
        hint = "name one column that holds the class: --label-column"
        raise ExciteError(what, where=where, hint=hint, exit_code=BAD_USAGE)
    for column, name in enumerate(names):
        for value, word in ((PRESENT, "with"), (ABSENT, "without")):
            count = int((values[:, column] == value).sum())
            if count < FEWEST:
                what = f"label {name!r} has {count or 'no'} image{'' if count == 1 else 's'} {word} it"
                hint = f"at least {FEWEST} are needed; add images, or leave the label out of --label-columns"
                raise ExciteError(what, where=where, hint=hint)
    for split, part in splits.items():
        for value, word in ((PRESENT, "with"), (ABSENT, "without")):
            missing = np.flatnonzero(~(part == value).any(axis=0))
            if len(missing):
                what = f"{split} has no image {word} label {names[missing[0]]!r}"
                what += f", nor {word} {len(missing) - 1} other labels" if len(missing) > 1 else ""
                hint = "every split needs images with and without every label; move some, or omit the split"
                raise ExciteError(what, where=where, hint=hint)
