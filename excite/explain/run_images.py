"""The images of a run that an explanation uses: a few of a split, or those the network was not fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from excite.audit.file_metadata import collect_metadata
from excite.audit.metadata_shortcut import feature_columns
from excite.config.task import MULTILABEL
from excite.data.file_validation import check_files
from excite.data.manifest import Manifest
from excite.data.pixel_cache import cached_pixels
from excite.data.preprocessing import Preprocessing
from excite.errors import BAD_USAGE, ExciteError
from excite.explain.objects import object_masks
from excite.runs.moved_data import require_images
from excite.runs.run import Run
from excite.system.cache import cache_directory
from excite.system.progress import Display


@dataclass(frozen=True, eq=False)
class RunImages:
    """Images with their pixels.

    Args:
        manifest: one row for each.
        pixels: (N, S, S, 3) uint8, preprocessed.
        masks: (N, S, S) bool, True on the object; None if it is unknown.
    """

    manifest: Manifest
    pixels: np.ndarray
    masks: np.ndarray | None = None

    @property
    def targets(self) -> np.ndarray:
        """(N,) class of each image. Raises: ExciteError if an image may have several labels."""
        if self.manifest.task == MULTILABEL:
            what = "gates and shortcuts are measured for one class per image; this run has several labels"
            raise ExciteError(what, hint="excite explain RUN shows its evidence", exit_code=BAD_USAGE)
        return self.manifest.targets()

    @property
    def codes(self) -> np.ndarray:
        """(N,) group of each image."""
        return self.manifest.group_codes()

    def take(self, rows: np.ndarray) -> RunImages:
        """Some of the images."""
        part = Manifest(self.manifest.table.iloc[rows].reset_index(drop=True), self.manifest.classes)
        return RunImages(part, self.pixels[rows], None if self.masks is None else self.masks[rows])

    def file_table(self) -> np.ndarray:
        """(N, F) metadata of the files as numbers: size, format, color mode, bytes."""
        metadata = collect_metadata(self.manifest, cache=cache_directory())
        known = [each for each in metadata if each is not None]
        if len(known) < len(metadata):
            raise ExciteError("an image cannot be read any more", where=self.manifest.table["path"].iloc[0])
        sides = self.manifest.table[["width", "height"]].to_numpy()
        return in_bins(np.hstack(list(feature_columns(known, sides).values())))


def in_bins(table: np.ndarray, bins: int = 5) -> np.ndarray:
    """Ranks of columns (N, F) that vary, and a column for each of their quantile bins.

    A linear classifier can then use a size that is neither the smallest nor the largest.

    >>> in_bins(np.array([[1.0], [2.0]]), bins=2)
    array([[1., 1., 0.],
           [2., 0., 1.]])
    """
    columns = []
    for column in table.T:
        if np.ptp(column) == 0:
            continue
        ranks = stats.rankdata(column)
        places = np.minimum((ranks - 0.5) * bins // len(ranks), bins - 1)
        columns += [ranks, *(places[:, None] == np.arange(bins)).T.astype(float)]
    return np.stack(columns, axis=1) if columns else np.zeros((len(table), 0))


def images_of_run(
    run: Run,
    preprocessing: Preprocessing,
    splits: tuple[str, ...] | None,
    *,
    most: int,
    objects: Path | None,
    display: Display,
) -> RunImages:
    """The images of some splits of a run, at most ``most``: whole groups, drawn with a fixed seed.

    Of several copies of one photo, the first few, so that no photo is left out.

    Args:
        preprocessing: of the run.
        splits: names of splits; those that the run does not have are ignored. None: all images.
        objects: a folder of masks or a CSV of boxes, see ``object_masks``; None: unknown.

    Raises:
        ExciteError: if the run has no such images, or they are missing.
    """
    table = run.manifest.table
    chosen = (table if splits is None else table[table["split"].isin(splits)]).reset_index(drop=True)
    if not len(chosen):
        names = " and ".join(splits or ())
        what = f"the run has no {names} images to explain"
        hint = "name images: excite explain RUN IMAGE"
        raise ExciteError(what, where=run.path, hint=hint, exit_code=BAD_USAGE)
    images = Manifest(chosen, run.manifest.classes)
    photos = images.photo_codes()
    copies = max(1, most // (int(photos.max()) + 1))
    chosen = chosen[pd.Series(photos).groupby(photos).cumcount().to_numpy() < copies].reset_index(drop=True)
    images = Manifest(chosen, run.manifest.classes)
    rows = some_groups(images.group_codes(), most)
    images = Manifest(chosen.iloc[rows].reset_index(drop=True), run.manifest.classes)
    require_images(run, images.table["path"].tolist())
    images, _ = check_files(images, max_pixels=run.config.max_pixels, cache=cache_directory(), complete=False)
    pixels = cached_pixels(
        images, preprocessing, cache_directory(), progress=display.stage("decoding images")
    )
    masks = None
    if objects is not None:
        masks = object_masks(objects, images.table["path"].tolist(), preprocessing)
    return RunImages(images, pixels, masks)


def some_groups(codes: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """Rows of randomly drawn whole groups with at most ``most`` images, at least one group, in order.

    >>> some_groups(np.array([0, 0, 1, 1, 2, 2]), 4).tolist()
    [0, 1, 4, 5]
    """
    if len(codes) <= most:
        return np.arange(len(codes))
    order = np.random.default_rng(seed).permutation(int(codes.max()) + 1)
    taken = np.cumsum(np.bincount(codes)[order]) <= most
    taken[0] = True
    return np.flatnonzero(np.isin(codes, order[taken]))


def refuse_cross_validation(run: Run) -> None:
    """Raises: ExciteError for a cross-validation, whose networks were trained on most of its images."""
    if run.config.folds is not None:
        what = "is a cross-validation: each of its images was used to train most of its networks"
        hint = "explain one fold, or name new images: excite explain RUN IMAGE"
        raise ExciteError(what, where=run.path, hint=hint, exit_code=BAD_USAGE)
