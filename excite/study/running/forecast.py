"""Forecasts before a study starts: its duration, from a few timed steps, and the difference it can detect."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from excite.config.train_config import TrainConfig
from excite.data.corruptions import CORRUPTIONS
from excite.data.manifest import Manifest
from excite.data.sources import PixelSubset
from excite.evaluation.intervals import LEVEL
from excite.evaluation.mrmc import MeanSquares
from excite.evaluation.power import corrected_studies, crossed_studies
from excite.evaluation.sequential import spent_level
from excite.inference.predict import predict_logits
from excite.models.catalog import create_model
from excite.pipeline.weight_interpolation import FRACTIONS, MAX_IMAGES
from excite.runs.derive import architecture_of, augmentation_of, preprocessing_of
from excite.study.results.estimates import FEWEST_SEEDS
from excite.study.study import Study
from excite.system.devices import choose_device
from excite.system.peak_memory import held_memory, peak_memory, reset_peak_memory
from excite.training.step_timing import time_training_step

OVERHEAD = 1.0  # seconds per cell besides training and inference
DISAGREE = 0.1
"""Assumed fraction of test images that two arms classify differently, without --std."""


@dataclass(frozen=True)
class ArmCost:
    """The cost of one cell of an arm.

    Args:
        seconds: duration of the training, extrapolated from timed steps.
        memory: peak memory of a process in bytes; None: unknown.
    """

    seconds: float
    memory: int | None


def estimate_arm_costs(study: Study, device: str, threads: int) -> dict[str, ArmCost]:
    """Time a few steps of each arm on random pixels."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            return {arm: estimate_arm_cost(study, arm, device) for arm in study.arms}
    finally:
        torch.set_num_threads(before)


def estimate_arm_cost(study: Study, arm: str, device: str) -> ArmCost:
    """Time a few training steps and one batch of inference of an arm."""
    config, chosen = study.config(arm), choose_device(device)
    classes = len(study.document["classes"])
    assert config.image_size is not None
    reset_peak_memory(str(chosen))
    model = create_model(**architecture_of(config, classes)).to(chosen)
    model = model.to(memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)
    pixels = np.random.default_rng(0).integers(
        0, 256, (config.batch_size, config.image_size, config.image_size, 3)
    )
    source = PixelSubset(pixels.astype(np.uint8), device=chosen)
    preprocessing = preprocessing_of(config)
    began = time.perf_counter()
    predict_logits(model, source, preprocessing, device=chosen)
    image = (time.perf_counter() - began) / config.batch_size
    if config.recipe == "probe":
        return ArmCost(OVERHEAD + image * len(study.images), peak_memory(str(chosen)))
    step = time_training_step(
        model,
        config,
        classes=classes,
        preprocessing=preprocessing,
        augmentation=augmentation_of(config),
        device=chosen,
    )
    steps, predictions = count_work(config, study.parts(0, 0), folded=study.folds is not None)
    seconds = steps * step + predictions * image
    if config.time_budget is not None:
        seconds = min(seconds, 60 * config.time_budget)
    return ArmCost(seconds + OVERHEAD, peak_memory(str(chosen)))


def count_work(config: TrainConfig, parts: Manifest, *, folded: bool) -> tuple[int, int]:
    """(training steps, images of inference) of a cell that trains to its last epoch.

    Args:
        folded: whether the validation images are still part of the training split.
    """
    train, test, val = (len(parts.part(name)) for name in ("train", "test", "val"))
    drawn, test_drawn, val_drawn = train, test, val
    if config.augmented_copies == "one":
        drawn, test_drawn, val_drawn = (_photos(parts, name) for name in ("train", "test", "val"))
    if config.recipe == "probe":
        return 0, len(parts)
    if folded:
        fraction = config.val_fraction / (1 - config.test_fraction)
        val, train = round(fraction * train), round((1 - fraction) * train)
        val_drawn, drawn = round(fraction * drawn), round((1 - fraction) * drawn)
    predictions = (config.epochs + 1) * val + test
    if config.recipe == "finetune":
        # Features of all images for the initial probe and, if fine-tuning does not help, for the final one.
        # Then, under each corruption, the interpolated weights on validation images and, on request, three
        # sets of weights on test images.
        predictions += 2 * (train + val + test)
        mixtures = len(FRACTIONS) * min(val_drawn, MAX_IMAGES)
        ends = 3 * min(test_drawn, MAX_IMAGES) if config.robustness else 0
        predictions += (1 + len(CORRUPTIONS)) * (mixtures + ends)
    return config.epochs * max(1, drawn // config.batch_size), predictions


def _photos(parts: Manifest, split: str) -> int:
    """Number of photos that the images of a split show."""
    part = parts.part(split)
    return int(part.photo_codes().max()) + 1 if len(part) else 0


def total_seconds(study: Study, costs: Mapping[str, ArmCost], workers: int) -> float:
    """Duration of the remaining cells with this number of workers."""
    cells = [cell for cell in study.store.cells(study.name) if cell.state in ("waiting", "running")]
    each = [costs[cell.arm].seconds for cell in cells]
    return max(sum(each) / workers, max(each, default=0.0))


def smallest_difference(study: Study, std: float | None, seeds: int) -> tuple[float, str]:
    """The smallest difference that a study detects with a power of 80 %, and the assumption behind it.

    Args:
        std: standard deviation of the difference between single cells; None: that of arms that classify one
            image in ten differently.
        seeds: number of seeds; with the folds, at least two trainings.
    """
    parts = study.parts(0, 0)
    tested = parts.part("test")
    folds, groups = study.folds or 1, parts.group_count() if study.folds else tested.group_count()
    level = spent_level(1.0, (1 - LEVEL) / max(len(study.arms) - 1, 1))
    assumption = (
        f"assuming a standard deviation of {std:g} between pairs of cells"
        if std is not None
        else f"assuming that two arms classify 1 image in {1 / DISAGREE:.0f} differently; set --std if known"
    )
    ratio = len(tested) / max(len(parts) - len(tested), 1)
    if (study.folds is not None or study.document["split"] == "folder") and seeds >= FEWEST_SEEDS:
        entry = DISAGREE if std is None else std**2 * groups / folds
        # Half of the variance between two arms is due to the image, half due to the training.
        assumed = MeanSquares(entry / 2, entry / 2 * (seeds + 1), entry / 2, seeds, groups)
        overlap = ratio if study.folds is not None else 0.0
        return crossed_studies(assumed, seeds, overlap=overlap, alpha=level).smallest(), assumption
    deviation = math.sqrt(DISAGREE * folds / groups) if std is None else std
    return corrected_studies(deviation, seeds * folds, ratio, alpha=level).smallest(), assumption


def process_memory(costs: Mapping[str, ArmCost]) -> int | None:
    """Memory of a process of the most expensive arm, in bytes."""
    known: list[Any] = [cost.memory for cost in costs.values() if cost.memory]
    return max(known, default=held_memory()) or None
