"""The timing of a training step trains for the warm-up and the timed steps, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from excite.config.train_config import TrainConfig
from excite.data.preprocessing import Preprocessing
from excite.models.catalog import create_model
from excite.runs.derive import augmentation_of
from excite.training import step_timing
from excite.training.loop import Trainer
from excite.training.step_timing import time_training_step


def timed(monkeypatch: pytest.MonkeyPatch, durations: list[float], **options: object) -> float:
    """The result with steps that take these durations, by a clock that they advance."""
    clock, remaining = [0.0], list(durations)

    def train_step(trainer: Trainer) -> None:
        clock[0] += remaining.pop(0)

    monkeypatch.setattr(Trainer, "train_step", train_step)
    monkeypatch.setattr(step_timing.time, "perf_counter", lambda: clock[0])
    config = TrainConfig().replace(
        model="cifar_resnet20", image_size=16, batch_size=4, device="cpu", precision="float32",
        augment="quick", lr=0.1, weight_decay=0.0, layer_decay=1.0, monitor="accuracy", **options,
    )  # fmt: skip
    found = time_training_step(
        create_model("cifar_resnet20", num_classes=2),
        config,
        classes=2,
        preprocessing=Preprocessing(image_size=16),
        augmentation=augmentation_of(config),
        device=torch.device("cpu"),
    )
    assert remaining == []
    return found


def test_it_is_the_median_of_the_steps_after_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert timed(monkeypatch, [90.0, 1.0, 7.0, 2.0], batch_norm="adapted") == pytest.approx(2.0)
    assert list(tmp_path.iterdir()) == []
