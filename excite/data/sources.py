"""Where batches take their pixels from."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

# A data set that takes less than this fraction of the accelerator's free memory is kept there as bytes.
RESIDENT_FRACTION = 0.25


class PixelSource(Protocol):
    """Square uint8 images of one size, read by row: a (N, S, S, 3) array in memory or mapped."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, S, S, 3)."""

    def __len__(self) -> int:
        """N, the number of images."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """(len(rows), S, S, 3) uint8, in the order of ``rows``."""


@runtime_checkable
class ReadsAhead(Protocol):
    """A pixel source that can be told which rows are read next."""

    def announce(self, rows: np.ndarray, /) -> None:
        """Begin to decode these rows."""


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to the device; to a GPU from pinned memory, since a copy from pageable memory waits for
    everything that the GPU has queued."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class PixelSubset:
    """Rows of a pixel source as tensors; a small subset can stay on the accelerator.

    Args:
        pixels: N images.
        rows: the selected rows, in order; None: all N.
        device: the accelerator on which a small subset is kept; None: none.

    Example:
        >>> import numpy as np, torch
        >>> images = PixelSubset(np.zeros((5, 8, 8, 3), dtype=np.uint8), np.array([4, 0, 2]))
        >>> len(images), tuple(images.take(np.array([2, 1]), torch.device("cpu")).shape)
        (3, (2, 8, 8, 3))
    """

    def __init__(
        self, pixels: PixelSource, rows: np.ndarray | None = None, *, device: torch.device | None = None
    ) -> None:
        self._pixels = pixels
        self._rows = np.arange(len(pixels)) if rows is None else rows
        self._resident: Tensor | None = None
        if device is not None and device.type == "cuda":
            size = len(self) * int(np.prod(pixels.shape[1:]))
            if size < RESIDENT_FRACTION * torch.cuda.mem_get_info(device)[0]:
                self._resident = torch.from_numpy(pixels[self._rows]).to(device)

    def __len__(self) -> int:
        return len(self._rows)

    def part(self, start: int, stop: int) -> PixelSubset:
        """The images from ``start`` to ``stop``, not kept on the accelerator."""
        return PixelSubset(self._pixels, self._rows[start:stop])

    def announce(self, indices: np.ndarray) -> None:
        """Say which images ``take`` is asked for next, so that a source that decodes them can begin."""
        if self._resident is None and isinstance(self._pixels, ReadsAhead):
            self._pixels.announce(self._rows[indices])

    def take(self, indices: np.ndarray, device: torch.device) -> Tensor:
        """(len(indices), S, S, 3) uint8 on the device; indices count from 0 to ``len(self)``."""
        if self._resident is not None:
            return self._resident[to_device(torch.from_numpy(indices), device)]
        rows = self._rows[indices]
        if device.type != "cuda":
            return torch.from_numpy(self._pixels[rows]).to(device)
        batch = torch.empty(len(rows), *self._pixels.shape[1:], dtype=torch.uint8, pin_memory=True)
        if isinstance(self._pixels, np.ndarray):
            # Not mode="raise", which gathers into memory of its own and copies from there.
            np.take(self._pixels, rows, axis=0, out=batch.numpy(), mode="clip")
        else:
            batch.numpy()[...] = self._pixels[rows]
        return batch.to(device, non_blocking=True)
