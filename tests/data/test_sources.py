"""Rows of an array of pixels as tensors."""

from __future__ import annotations

import numpy as np
import torch

from excite.data.sources import PixelSubset

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
CPU = torch.device("cpu")


def test_rows_come_in_the_order_of_the_indices() -> None:
    rows = np.array([7, 2, 9, 4])
    subset = PixelSubset(PIXELS, rows)
    assert len(subset) == 4
    taken = subset.take(np.array([3, 0, 0]), CPU)
    assert taken.dtype == torch.uint8
    assert np.array_equal(taken.numpy(), PIXELS[[4, 7, 7]])


def test_all_rows_by_default_and_a_part_of_them() -> None:
    subset = PixelSubset(PIXELS)
    assert np.array_equal(subset.take(np.arange(10), CPU).numpy(), PIXELS)
    assert np.array_equal(subset.part(3, 5).take(np.arange(2), CPU).numpy(), PIXELS[3:5])
