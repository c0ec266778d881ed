"""Where batches take their pixels from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# A data set that takes less than this share of the accelerator's free memory is kept there as bytes.
RESIDENT_SHARE = 0.25


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. From locked memory, since a copy from any other waits for all that a GPU has
    still to do."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class PixelSource:
    """Some rows of a (N, S, S, 3) uint8 array as tensors; a small set can live on the accelerator.

    Args:
        pixels: the array, in memory or mapped from a file.
        rows: which of its rows, in which order; None: all.
        device: where a small set is kept.
    """

    def __init__(
        self, pixels: np.ndarray, rows: np.ndarray | None = None, *, device: torch.device | None = None
    ) -> None:
        self._pixels = pixels
        self._rows = np.arange(len(pixels)) if rows is None else rows
        self._resident: Tensor | None = None
        if device is not None and device.type == "cuda":
            size = len(self) * pixels[0].nbytes
            if size < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
                self._resident = torch.from_numpy(pixels[self._rows]).to(device)

    def __len__(self) -> int:
        return len(self._rows)

    def part(self, start: int, stop: int) -> PixelSource:
        """The images from ``start`` to ``stop``, off the accelerator."""
        return PixelSource(self._pixels, self._rows[start:stop])

    def take(self, indices: np.ndarray, device: torch.device) -> Tensor:
        """(len(indices), S, S, 3) uint8 on the device; indices count from 0 to ``len(self)``."""
        if self._resident is not None:
            return self._resident[to_device(torch.from_numpy(indices), device)]
        chosen = self._rows[indices]
        if device.type != "cuda":
            return torch.from_numpy(self._pixels[chosen]).to(device)
        batch = torch.empty(len(chosen), *self._pixels.shape[1:], dtype=torch.uint8, pin_memory=True)
        # Not mode="raise", which gathers into memory of its own and copies from there.
        np.take(self._pixels, chosen, axis=0, out=batch.numpy(), mode="clip")
        return batch.to(device, non_blocking=True)
