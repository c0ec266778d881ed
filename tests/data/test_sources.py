"""Batches come from anything that reads rows, not only from arrays."""

from __future__ import annotations

import numpy as np
import torch

from excite.data.sources import PixelSource, PixelSubset

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
CPU = torch.device("cpu")


class Halves:
    """Two arrays read as one."""

    def __init__(self, first: np.ndarray, second: np.ndarray) -> None:
        self.parts = (first, second)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.parts[0].shape[1:])

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        first, second = self.parts
        return np.stack([first[row] if row < len(first) else second[row - len(first)] for row in rows])


def test_a_source_of_two_arrays_gives_what_one_array_gives() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3)).astype(np.uint8)
    halves: PixelSource = Halves(pixels[:5], pixels[5:])
    rows = np.array([8, 0, 4, 5, 5])
    one, other = PixelSubset(pixels, rows), PixelSubset(halves, rows)
    assert len(one) == len(other) == 5
    indices = np.array([3, 0, 2])
    assert torch.equal(one.take(indices, torch.device("cpu")), other.take(indices, torch.device("cpu")))
    assert torch.equal(
        one.part(1, 3).take(np.array([1]), torch.device("cpu")),
        other.part(1, 3).take(np.array([1]), torch.device("cpu")),
    )


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
