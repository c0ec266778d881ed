"""The augmentation of a plug-in: its draws are functions of the seed, and the global state neither counts nor
changes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

import excite
from excite.config.train_config import TrainConfig
from excite.data.augmentation import Augmentation, to_float
from excite.data.batches import TrainingBatches, derive_seed
from excite.data.preprocessing import Preprocessing
from excite.data.seeded_transform import SeededTransform, plugin_transform
from excite.data.sources import PixelSubset
from excite.errors import ExciteError
from excite.runs.derive import augmentation_of

SIZE = 8
PIXELS = np.random.default_rng(0).integers(0, 256, (24, SIZE, SIZE, 3), dtype=np.uint8)
PLAIN = Preprocessing(SIZE, mean=(0.0,) * 3, std=(1.0,) * 3)
COLORS = v2.Compose([v2.RandomResizedCrop(SIZE), v2.ColorJitter(0.5, 0.5, 0.3), v2.RandAugment()])


def draws_everywhere(image: Tensor) -> Tensor:
    """From the three random states that code in the wild draws from."""
    factor = 0.2 * (torch.rand(()).item() + random.random() + np.random.rand())
    return image.float().div(255) * (0.2 + factor)


class Batchwise:
    """A draw for each image, from one call for the batch."""

    whole_batch = True

    def __call__(self, images: Tensor) -> Tensor:
        return images.float() / 255 * torch.rand(len(images), 1, 1, 1)


def batches(transform: Callable[[Tensor], Tensor], parts: int = 1, **options: Any) -> TrainingBatches:
    return TrainingBatches(
        PixelSubset(PIXELS),
        np.arange(len(PIXELS)) % 3,
        classes=3,
        preprocessing=PLAIN,
        batch_size=8,
        augmentation=Augmentation(**options, transform=SeededTransform("mine", transform)),
        seed=5,
        parts=parts,
    )


def states() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()


@pytest.mark.parametrize("transform", [COLORS, draws_everywhere, Batchwise()])
def test_the_same_seed_epoch_and_step_give_the_same_images_whatever_the_global_state(
    transform: Callable[[Tensor], Tensor],
) -> None:
    first, targets = batches(transform).load(3, 1, 0)
    given = random.getstate(), np.random.get_state()
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    before = states()
    again, same_targets = batches(transform).load(3, 1, 0)
    assert states() == before
    random.setstate(given[0])
    np.random.set_state(given[1])
    assert torch.equal(first, again)
    assert torch.equal(targets, same_targets)
    others = [batches(transform).load(*when, 0)[0] for when in ((3, 2), (2, 1))]
    assert not any(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("transform", [COLORS, draws_everywhere, Batchwise()])
def test_processes_together_see_the_images_of_one_process(
    transform: Callable[[Tensor], Tensor], parts: int
) -> None:
    whole, targets = batches(transform).load(0, 2, 0)
    pieces = [batches(transform, parts).load(0, 2, part) for part in range(parts)]
    assert torch.equal(torch.cat([images for images, _ in pieces]), whole)
    assert torch.equal(torch.cat([each for _, each in pieces]), targets)


def test_an_image_is_what_the_transform_alone_gives_after_its_seed() -> None:
    """torchvision itself is the reference."""
    made = batches(COLORS)
    images, _ = made.load(1, 0, 0)
    for place, row in enumerate(made.order(1)[:8]):
        torch.manual_seed(derive_seed(5, 1, 0, place, 1))
        expected = COLORS(torch.from_numpy(PIXELS[row]).permute(2, 0, 1).contiguous())
        assert torch.equal(images[place], expected.float() / 255)


def test_images_of_a_batch_have_draws_of_their_own() -> None:
    pixels = torch.full((6, SIZE, SIZE, 3), 100, dtype=torch.uint8)
    images = SeededTransform("x", v2.ColorJitter(brightness=0.9))(pixels, range(6))
    assert len({round(float(image.mean()), 6) for image in images}) == 6


def test_flips_come_before_the_transform_and_their_draws_stay_those_of_the_presets() -> None:
    def nothing(image: Tensor) -> Tensor:
        return image

    own, _ = batches(nothing, horizontal_flip=0.5, vertical_flip=0.5).load(0, 0, 0)
    plain = TrainingBatches(
        PixelSubset(PIXELS),
        np.arange(len(PIXELS)) % 3,
        classes=3,
        preprocessing=PLAIN,
        batch_size=8,
        augmentation=Augmentation(horizontal_flip=0.5, vertical_flip=0.5),
        seed=5,
    )
    assert torch.equal(own, plain.load(0, 0, 0)[0])
    assert not torch.equal(own, to_float(torch.from_numpy(PIXELS[plain.order(0)[:8]])))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda image: image[:, 1:], r"'mine': returns \(3, 7, 8\) for an image \(3, 8, 8\) .it must keep"),
        (lambda image: None, "returns NoneType for an image"),
        (lambda image: image.int(), r"returns torch.int32 \(return uint8, or floating-point in \[0, 1\]"),
        (lambda image: 1 / 0, "failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_transform_that_gives_no_image_is_refused(transform: Callable[..., Any], message: str) -> None:
    with pytest.raises(ExciteError, match=message):
        SeededTransform("mine", transform).check(SIZE)


def test_a_generator_of_its_own_is_noticed_before_the_training() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(ExciteError, match="different images for the same seed: it has a random generator"):
        SeededTransform("mine", lambda image: image * float(generator.random())).check(SIZE)
    SeededTransform("mine", draws_everywhere).check(SIZE)


def test_a_configuration_names_it_with_its_options(own_names: None) -> None:
    @excite.register("augmentation", "dim")
    def dim(factor: float = 0.5) -> Callable[[Tensor], Tensor]:
        return lambda image: image.float() / 255 * factor

    config = TrainConfig(augment="dim", augment_options={"factor": 0.25}, flips="both")
    made = augmentation_of(config)
    assert (made.horizontal_flip, made.vertical_flip, made.mixes) == (0.5, 0.5, False)
    pixels = torch.full((2, 4, 4, 3), 200, dtype=torch.uint8)
    assert made.transform is not None
    assert torch.allclose(made.transform(pixels, [1, 2]), torch.tensor(200 / 255 / 4))
    with pytest.raises(ExciteError, match=r"unknown option 'faktor' .did you mean 'factor'"):
        plugin_transform("dim", {"faktor": 1})
    excite.register("augmentation", "needy")(lambda needed: needed)
    with pytest.raises(ExciteError, match=r"augmentation 'needy': could not be built: TypeError: .*needed"):
        plugin_transform("needy", {})
    excite.register("augmentation", "number")(lambda: 1)
    with pytest.raises(ExciteError, match=r"augmentation 'number': is int, which cannot be called"):
        plugin_transform("number", {})
