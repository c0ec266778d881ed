"""How long a training step takes, measured before a training starts."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from excite.config.train_config import TrainConfig
from excite.data.augmentation import Augmentation
from excite.data.batches import TrainingBatches
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.system.progress import Display
from excite.system.world import World
from excite.training.loop import Trainer
from excite.training.optimization import freeze_norms
from excite.training.validation import Validation

STEPS = 3  # timed, after one that warms up


def time_training_step(
    model: nn.Module,
    config: TrainConfig,
    *,
    classes: int,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    device: torch.device,
    steps: int = STEPS,
) -> float:
    """Median seconds of a step of training on random pixels, including augmentation and the update.

    The model is trained for a few steps, at the learning rate with which a training starts. The global random
    state changes.

    Args:
        model: the network, on ``device``.
        config: resolved options, as for ``Trainer``.
        steps: number of timed steps, after one that warms up.
    """
    count, side = config.batch_size, preprocessing.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    source, targets = PixelSubset(pixels, device=device), np.arange(count) % classes
    batches = TrainingBatches(
        source,
        targets,
        classes=classes,
        preprocessing=preprocessing,
        batch_size=count,
        augmentation=augmentation,
        seed=config.seed,
        parts=config.accumulation_steps,
        device=device,
    )
    trainer = Trainer(
        model,
        batches,
        Validation(source, targets, preprocessing),
        config,
        folder=Path(),  # no checkpoint is written
        device=device,
        world=World(),
        display=Display(),
    )
    trainer.forward.train()
    if config.batch_norm == "frozen":
        freeze_norms(model)
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        trainer.train_step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[1:]))
