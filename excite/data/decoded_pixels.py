"""Decoded images as a source of pixels: from the cache on disk, or decoded in threads as they are needed."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from excite.data.manifest import Manifest
from excite.data.pixel_cache import CACHED_UP_TO, cached_pixels, decode_row
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSource
from excite.data.stored_image import is_remote
from excite.system.parallel import Progress

AHEAD_BYTES = 256 * 2**20
"""Decoded images that wait for their batch, at most."""
_REMOTE_THREADS = 16  # requests to an object store wait for the network, not for a processor


def decoded_pixels(
    manifest: Manifest,
    preprocessing: Preprocessing,
    cache: Path,
    progress: Progress | None = None,
    *,
    keep: str = "auto",
) -> PixelSource:
    """The pixels of every image; the same values wherever they come from.

    Args:
        manifest: the checked images, as ``check_files`` returns them.
        cache: the cache folder.
        progress: called with (images done, total images) while the cache is filled.
        keep: ``on``: decode all images into the cache now, see ``cached_pixels``; ``off``: decode each image
            whenever it is needed; ``auto``: off if the cache would take more than ``CACHED_UP_TO`` bytes.

    Raises:
        ExciteError: as ``cached_pixels``.
    """
    if keep == "on" or (keep == "auto" and fits_the_cache(len(manifest), preprocessing.image_size)):
        return cached_pixels(manifest, preprocessing, cache, progress)
    return OnDemandPixels(manifest, preprocessing)


def fits_the_cache(images: int, image_size: int) -> bool:
    """Whether decoded images take at most ``CACHED_UP_TO`` bytes.

    >>> fits_the_cache(200_000, 224), fits_the_cache(1_281_167, 224)
    (True, False)
    """
    return images * image_size**2 * 3 <= CACHED_UP_TO


class OnDemandPixels:
    """Images that are decoded in threads when they are asked for, or ahead of it when they are announced.

    Args:
        manifest: N checked images.
        preprocessing: how they become squares.
        threads: number of threads; None: one per processor, more for images in an object store.
    """

    def __init__(
        self, manifest: Manifest, preprocessing: Preprocessing, *, threads: int | None = None
    ) -> None:
        self._files = manifest.files()
        self._hashes = manifest.table["sha256"].to_numpy()
        self._sizes = (manifest.table["width"] * manifest.table["height"]).to_numpy()
        self._decode = partial(decode_row, preprocessing=preprocessing)
        self._side = preprocessing.image_size
        self._most = max(1, AHEAD_BYTES // (self._side**2 * 3))
        count = threads or os.cpu_count() or 1
        if threads is None and len(self._files) and is_remote(self._files[0].shard):
            count = max(count, _REMOTE_THREADS)
        self._executor = ThreadPoolExecutor(count)
        self._ahead: dict[int, Future[np.ndarray]] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, S, S, 3)."""
        return len(self), self._side, self._side, 3

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """(len(rows), S, S, 3) uint8, in the order of ``rows``."""
        futures: dict[int, Future[np.ndarray]] = {}
        for row in rows.tolist():
            if row not in futures:
                futures[row] = self._ahead.pop(row) if row in self._ahead else self._submit(row)
        pixels = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        for place, row in enumerate(rows.tolist()):
            pixels[place] = futures[row].result()
        return pixels

    def announce(self, rows: np.ndarray, /) -> None:
        """Begin to decode images that will be asked for; of too many, the earliest announced are dropped."""
        for row in rows.tolist():
            if row not in self._ahead:
                self._ahead[row] = self._submit(row)
        for row in list(self._ahead)[: max(0, len(self._ahead) - self._most)]:
            self._ahead.pop(row).cancel()

    def _submit(self, row: int) -> Future[np.ndarray]:
        file = (self._files[row], self._hashes[row], int(self._sizes[row]))
        return self._executor.submit(self._decode, file)
