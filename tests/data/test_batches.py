"""The batch of a step is a function of seed, epoch, and step: whole, in parts, in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from excite.data.augmentation import PRESETS, Augmentation
from excite.data.batches import TrainingBatches, derive_seed, evaluation_batches
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset

CPU = torch.device("cpu")
PLAIN = Preprocessing(4, mean=(0, 0, 0), std=(1, 1, 1))
IMAGENET = Preprocessing(4)


def numbered(count: int, size: int = 4) -> np.ndarray:
    """Pictures whose pixels are all their number."""
    return np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(size, 1).repeat(size, 2).repeat(3, 3)


def noise(count: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def batches_of(pixels: np.ndarray, **options: Any) -> TrainingBatches:
    settings = {"classes": len(pixels), "preprocessing": PLAIN, "batch_size": 4, "seed": 0}
    settings |= {"augmentation": Augmentation()} | options
    return TrainingBatches(PixelSubset(pixels), np.arange(len(pixels)) % settings["classes"], **settings)


def seen(batches: TrainingBatches, epoch: int) -> list[int]:
    """The numbers of the pictures of an epoch, read from their pixels."""
    images = torch.cat([batches.load(epoch, step, 0)[0] for step in range(batches.steps)])
    return (images[:, 0, 0, 0] * 255).round().int().tolist()


def test_an_epoch_shows_each_image_once_with_its_own_target_in_an_order_of_its_own() -> None:
    batches = batches_of(numbered(20))
    epochs = [seen(batches, epoch) for epoch in range(4)]
    for epoch, numbers in enumerate(epochs):
        assert sorted(numbers) == list(range(20))
        targets = torch.cat([batches.load(epoch, step, 0)[1] for step in range(5)])
        assert targets.tolist() == numbers
    assert len({tuple(numbers) for numbers in epochs}) == 4
    assert seen(batches_of(numbered(20), seed=1), 0) != epochs[0]
    assert seen(batches_of(numbered(20)), 0) == epochs[0]


def test_images_that_do_not_fill_a_batch_are_used_in_another_epoch() -> None:
    batches = batches_of(numbered(23))
    assert batches.steps == 5
    epochs = [seen(batches, epoch) for epoch in range(12)]
    assert all(len(set(numbers)) == 20 for numbers in epochs)
    assert set().union(*epochs) == set(range(23))


def test_fewer_images_than_a_batch_are_repeated() -> None:
    batches = batches_of(numbered(3), batch_size=8)
    assert batches.steps == 1
    assert sorted(np.bincount(seen(batches, 0))) == [2, 3, 3]


MODES: dict[str, dict[str, Any]] = {
    "plain": {},
    "standard": {"augmentation": PRESETS["standard"]},
    "mixing": {"augmentation": PRESETS["best"]},
    "mixup": {"augmentation": Augmentation(mixup=0.4)},
    "sampling": {"sampling": np.array([0.5, 0.5] + [0.0] * 22)},
}


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("mode", MODES)
def test_the_parts_of_a_step_are_the_whole_batch(mode: str, parts: int) -> None:
    """Two processes, or accumulated pieces, see what one process sees at once."""
    options = {"classes": 5, "preprocessing": IMAGENET, "batch_size": 8} | MODES[mode]
    whole, cut = batches_of(noise(24), **options), batches_of(noise(24), parts=parts, **options)
    for epoch, step in [(0, 0), (0, 2), (3, 1)]:
        images, targets = whole.load(epoch, step, 0)
        pieces = [cut.load(epoch, step, part) for part in range(parts)]
        assert torch.equal(torch.cat([piece[0] for piece in pieces]), images)
        assert torch.equal(torch.cat([piece[1] for piece in pieces]), targets)
        assert images.shape == (8, 3, 8, 8)
        assert targets.shape == ((8, 5) if whole._augmentation.mixes else (8,))


@pytest.mark.parametrize("mode", MODES)
def test_any_step_can_be_loaded_in_any_order_and_again(mode: str) -> None:
    """A training can therefore resume in the middle of an epoch."""
    options = {"classes": 5, "batch_size": 8} | MODES[mode]
    in_order = batches_of(noise(24), **options)
    expected = {(epoch, step): in_order.load(epoch, step, 0) for epoch in range(3) for step in range(3)}
    other = batches_of(noise(24), **options)
    for place in [(2, 1), (0, 0), (2, 1), (1, 2), (0, 2), (2, 0), (0, 0)]:
        for mine, its in zip(other.load(*place, 0), expected[place], strict=True):
            assert torch.equal(mine, its)


def test_the_global_random_state_is_neither_read_nor_moved() -> None:
    batches = batches_of(noise(24), augmentation=PRESETS["best"])
    torch.manual_seed(1)
    one = batches.load(0, 0, 0)[0]
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == after
    torch.manual_seed(2)
    assert torch.equal(batches.load(0, 0, 0)[0], one)


def test_augmentation_differs_between_epochs() -> None:
    pixels = noise(1).repeat(4, axis=0)  # one picture, so that order plays no part
    batches = batches_of(pixels, classes=1, augmentation=PRESETS["standard"])
    images = torch.cat([batches.load(epoch, 0, 0)[0] for epoch in range(3)])
    assert len(images.flatten(1).unique(dim=0)) == 12


def test_sampling_draws_each_image_with_its_probability() -> None:
    probabilities = np.array([0.5, 0.25, 0.125, 0.125, 0.0])
    batches = batches_of(numbered(5).repeat(1, axis=0), sampling=probabilities, batch_size=5)
    numbers = np.concatenate([seen(batches, epoch) for epoch in range(800)])
    np.testing.assert_allclose(np.bincount(numbers, minlength=5) / len(numbers), probabilities, atol=0.03)


def test_mixed_targets_are_the_fractions_of_the_mixed_images() -> None:
    """Each picture is one number everywhere, so a mixed pixel gives the fraction."""
    batches = batches_of(numbered(2), batch_size=2, augmentation=Augmentation(mixup=1.0))
    mixed = 0
    for epoch in range(40):
        images, targets = batches.load(epoch, 0, 0)
        np.testing.assert_allclose(images[:, 0, 0, 0] * 255, targets[:, 1], atol=1e-4)
        mixed += int(((targets > 0.01) & (targets < 0.99)).any())
    assert mixed > 5


class Copies(TorchDispatchMode):
    """Counts copies to another device, whose tensors cannot be read."""

    count = 0

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> torch.Tensor:
        result = operator(*arguments, **(options or {}))
        if operator is torch.ops.aten._to_copy.default and arguments[0].device != result.device:
            self.count += 1
        return result


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_a_batch_is_made_on_a_device_without_waiting_and_with_few_copies(mode: str, parts: int) -> None:
    """For a batch of any size; the meta device, which has no values, stands for a GPU."""
    counts = []
    for size in (4, 24):
        options = {"batch_size": size, "parts": parts, "device": torch.device("meta"), **MODES[mode]}
        batches = batches_of(noise(24), **options)
        with Copies() as copies:
            images, targets = batches.load(0, 0, 0)
        assert images.shape == (size // parts, 3, 8, 8)
        assert images.device.type == targets.device.type == "meta"
        counts.append(copies.count)
    assert counts[0] == counts[1] <= 5  # pixels, draws and targets; of the partners too, or their places


@pytest.mark.parametrize("augmentation", [Augmentation(), Augmentation(horizontal_flip=0.5, erase=0.5)])
def test_training_images_are_normalized_and_channels_last(augmentation: Augmentation) -> None:
    plain = batches_of(noise(24), augmentation=augmentation)
    normal = batches_of(noise(24), augmentation=augmentation, preprocessing=IMAGENET)
    image, _ = normal.load(0, 0, 0)
    mean, std = np.reshape(IMAGENET.mean, (3, 1, 1)), np.reshape(IMAGENET.std, (3, 1, 1))
    np.testing.assert_allclose(image, (plain.load(0, 0, 0)[0].numpy() - mean) / std, atol=1e-5)
    assert image.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [1, 4, 10, 64])
def test_evaluation_takes_every_image_in_order_normalized_and_channels_last(size: int) -> None:
    pixels = noise(10)
    batches = list(evaluation_batches(PixelSubset(pixels), IMAGENET, size, CPU))
    assert [len(batch) for batch in batches] == [min(size, 10 - start) for start in range(0, 10, size)]
    expected = ((pixels / 255.0 - IMAGENET.mean) / IMAGENET.std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(torch.cat(batches).numpy(), expected, atol=1e-5)
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in batches)


def test_a_source_is_a_choice_of_rows_of_a_file_that_it_never_writes_to(tmp_path: Any) -> None:
    np.save(tmp_path / "pixels.npy", numbered(10))
    pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    source = PixelSubset(pixels, np.array([7, 3, 3, 9, 0]))
    assert len(source) == 5
    taken = source.take(np.array([1, 4, 0]), CPU)
    assert taken[:, 0, 0, 0].tolist() == [3, 0, 7]
    part = source.part(2, 4)
    assert len(part) == 2
    assert part.take(np.array([0, 1]), CPU)[:, 0, 0, 0].tolist() == [3, 9]
    taken.zero_()
    assert source.take(np.array([0]), CPU)[0, 0, 0, 0] == 7


numbers = st.lists(st.integers(0, 2**40), min_size=1, max_size=4)


@settings(max_examples=200)
@given(one=numbers, other=numbers)
def test_other_numbers_give_another_seed(one: list[int], other: list[int]) -> None:
    assert (derive_seed(*one) == derive_seed(*other)) == (one == other)
    assert 0 <= derive_seed(*one) < 2**63


def test_neither_trailing_zeros_nor_large_seeds_share_a_stream() -> None:
    assert derive_seed(1) != derive_seed(1, 0)
    assert derive_seed(5, 1) != derive_seed(5 + 2**32)
    assert derive_seed(1, 23) != derive_seed(12, 3)
    assert derive_seed(3, np.int64(4)) == derive_seed(3, 4)
    assert (
        len(
            {
                derive_seed(seed, epoch, step)
                for seed in range(20)
                for epoch in range(20)
                for step in range(20)
            }
        )
        == 8000
    )
