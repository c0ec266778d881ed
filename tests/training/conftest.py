"""A small training that runs in a second, for the tests of the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from excite.config.train_config import TrainConfig
from excite.data.augmentation import PRESETS
from excite.data.batches import TrainingBatches
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.system.progress import Display
from excite.system.world import World
from excite.training.loop import Trainer
from excite.training.validation import Validation

SIZE, CLASSES = 8, 3


def plain_net() -> nn.Module:
    """A network without batch norm or dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES)
    )


def full_net() -> nn.Module:
    """A network with batch norm and dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(32, CLASSES),
    )


def problem(images: int = 50, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise whose brightest channel is its class: easy to learn."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, CLASSES, images)
    pixels = random.integers(0, 160, (images, SIZE, SIZE, 3))
    pixels[np.arange(images), :, :, targets] += 60
    return pixels.astype(np.uint8), targets


def make_trainer(
    folder: Path,
    model: nn.Module,
    *,
    augment: str = "best",
    world: World | None = None,
    display: Display | None = None,
    **options: Any,
) -> Trainer:
    resolved = {
        "lr": 0.01,
        "weight_decay": 0.05,
        "layer_decay": 1.0,
        "precision": "float32",
        "device": "cpu",
        "batch_size": 8,
    }
    config = TrainConfig().replace(**(resolved | {"epochs": 3, "augment": augment} | options))
    world = world or World()
    pixels, targets = problem()
    preprocessing = Preprocessing(SIZE)
    batches = TrainingBatches(
        PixelSubset(pixels),
        targets,
        classes=CLASSES,
        preprocessing=preprocessing,
        batch_size=config.batch_size,
        augmentation=PRESETS[augment],
        seed=config.seed,
        parts=world.size * config.accumulation_steps,
    )
    held_back, held_targets = problem(30, seed=1)
    return Trainer(
        model,
        batches,
        Validation(PixelSubset(held_back), held_targets, preprocessing),
        config,
        folder=folder,
        device=torch.device("cpu"),
        world=world,
        display=display or Display(),
    )


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.state.tensors().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether all tensors are equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
