"""Thumbnails of many images in a temporary file, of which the system keeps in memory what fits."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from excite.audit.duplicates.thumbnails import FINE_SIDE, Thumbnail

_HASH = 16  # bytes of a thumbnail's ``pixels_hash``


class StoredThumbnails(Sequence[Thumbnail]):
    """Thumbnails by row, read from a file without a name, which the system removes at the end.

    Args:
        thumbnails: in order.
        count: how many.
        folder: of the file; None: the one of the system for temporary files.

    Example:
        >>> one = Thumbnail(bytes(16), np.eye(32, dtype=np.uint8), np.zeros((32, 4), dtype=np.uint8), False)
        >>> stored = StoredThumbnails([one, one], 2)
        >>> len(stored), bool((stored[1].luma == one.luma).all())
        (2, True)
    """

    def __init__(self, thumbnails: Iterable[Thumbnail], count: int, folder: Path | None = None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._hashes = np.zeros((count, _HASH), dtype=np.uint8)
        self._sides = np.zeros(count, dtype=np.uint8)
        self._blank = np.zeros(count, dtype=bool)
        self._starts = np.zeros(count + 1, dtype=np.int64)
        with tempfile.TemporaryFile(dir=folder) as file:
            for row, one in enumerate(thumbnails):
                side = len(one.luma)
                self._hashes[row] = np.frombuffer(one.pixels_hash, np.uint8)
                self._sides[row], self._blank[row] = side, one.blank
                self._starts[row + 1] = self._starts[row] + side * side + side * side // 8
                file.write(one.luma.tobytes())
                file.write(one.outside.tobytes())
            file.flush()
            self._bytes = np.memmap(file, dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self._sides)

    @overload
    def __getitem__(self, index: int) -> Thumbnail: ...

    @overload
    def __getitem__(self, index: slice) -> list[Thumbnail]: ...

    def __getitem__(self, index: int | slice) -> Thumbnail | list[Thumbnail]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        row = index % len(self)
        side, start = int(self._sides[row]), int(self._starts[row])
        assert side <= FINE_SIDE
        luma = np.array(self._bytes[start : start + side * side]).reshape(side, side)
        outside = np.array(self._bytes[start + side * side : int(self._starts[row + 1])])
        return Thumbnail(
            self._hashes[row].tobytes(), luma, outside.reshape(side, side // 8), bool(self._blank[row])
        )
