"""Images to be evaluated that the training has seen: the same files, or other copies of the same photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from excite.data.audit import PHOTOS_UP_TO
from excite.data.checking import check_files
from excite.data.duplicates import find_pairs, link
from excite.data.manifest import Manifest
from excite.runs.run import Run
from excite.system.cache import cache_directory
from excite.training.progress import Display


def seen_in_training(run: Run, images: Manifest, display: Display) -> np.ndarray:
    """Which images (N,) bool have a copy among those that the run was trained or tuned with.

    Files are compared by content, and pictures by what they show as long as the run's own can be read.

    Args:
        images: checked images.
    """
    before = run.manifest
    used = before  # of a cross-validation: all but one of the networks of a repeat have seen any image
    if run.config.folds is None:
        used = replace(before, table=before.table[before.table["split"].isin(["train", "val"])])
    known = set(used.table["sha256"])
    seen = images.table["sha256"].isin(known).to_numpy()
    there = [Path(path).is_file() for path in used.table["path"]]
    readable = replace(used, table=used.table[np.array(there, dtype=bool)])
    if len(readable) < len(used):
        gone = len(used) - len(readable)
        display.note(f"{gone} of {len(used)} training images are gone: their other copies cannot be found")
    if len(readable) == 0 or seen.all():
        return seen
    classes = tuple(sorted({*before.classes, *images.classes}))
    both = Manifest(pd.concat([images.table, readable.table], ignore_index=True), classes)
    max_pixels = run.config.max_pixels
    checked, bad = check_files(both, max_pixels=max_pixels, cache=cache_directory(), complete=False)
    if bad:  # between the check of the images and this one: compare what is left by content alone
        return seen
    wanted = run.config.photos
    pairs = find_pairs(
        checked,
        photos=len(checked) <= PHOTOS_UP_TO if wanted is None else wanted,
        max_pixels=max_pixels,
        cache=cache_directory(),
        progress=display.stage,
    )
    groups = np.array(link(len(checked), pairs).groups)
    trained_on = np.unique(groups[len(images) :])
    return seen | np.isin(groups[: len(images)], trained_on)
