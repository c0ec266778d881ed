"""Before a study starts: how long it will take, from a timed probe, and what it could show."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from excite.config.train_config import TrainConfig
from excite.data.corruptions import CORRUPTIONS
from excite.data.manifest import Manifest
from excite.data.sources import PixelSubset
from excite.evaluation.intervals import LEVEL
from excite.evaluation.mrmc import MeanSquares
from excite.evaluation.power import corrected_studies, crossed_studies
from excite.inference.predict import predict_logits
from excite.models.catalog import create_model
from excite.pipeline.weight_interpolation import FRACTIONS, MAX_IMAGES
from excite.runs.derive import architecture_of, preprocessing_of
from excite.study.results.estimates import FEWEST_SEEDS
from excite.study.study import Study
from excite.system.devices import autocast, choose_device
from excite.system.peak_memory import held_memory, peak_memory, reset_peak_memory
from excite.training.optimization import build_optimizer, classification_loss

STEPS = 3  # timed, after one that warms up
OVERHEAD = 1.0  # seconds a cell beside training
DISAGREE = 0.1
"""Share of test images that two arms answer differently, where no spread is known: called a guess."""


@dataclass(frozen=True)
class Probe:
    """What one cell of an arm takes.

    Args:
        seconds: of one training, by steps and images that were timed.
        memory: bytes that a process takes with it.
    """

    seconds: float
    memory: int | None


def probe_arms(study: Study, device: str, threads: int) -> dict[str, Probe]:
    """Time a few steps of each arm, on random pixels."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            return {arm: probe_arm(study, arm, device) for arm in study.arms}
    finally:
        torch.set_num_threads(before)


def probe_arm(study: Study, arm: str, device: str) -> Probe:
    """Time a few steps and a batch of inference of an arm."""
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
    began = time.perf_counter()
    predict_logits(model, source, preprocessing_of(config), device=chosen)
    image = (time.perf_counter() - began) / config.batch_size
    if config.recipe == "probe":
        return Probe(OVERHEAD + image * len(study.images), peak_memory(str(chosen)))
    step = _step_seconds(model, config, source, classes, chosen)
    steps, asked = work_of(config, study.parts(0, 0), folded=study.folds is not None)
    seconds = steps * step + asked * image
    if config.time_budget is not None:
        seconds = min(seconds, 60 * config.time_budget)
    return Probe(seconds + OVERHEAD, peak_memory(str(chosen)))


def work_of(config: TrainConfig, parts: Manifest, *, folded: bool) -> tuple[int, int]:
    """(training steps, images of inference) of a cell, if it goes on to its last epoch.

    Args:
        folded: validation is still to be taken out of the training part.
    """
    train, test, val = (len(parts.part(name)) for name in ("train", "test", "val"))
    drawn, test_drawn, val_drawn = train, test, val
    if config.augmented_copies == "one":
        drawn, test_drawn, val_drawn = (_photos(parts, name) for name in ("train", "test", "val"))
    if config.recipe == "probe":
        return 0, len(parts)
    if folded:
        share = config.val_fraction / (1 - config.test_fraction)
        val, train = round(share * train), round((1 - share) * train)
        val_drawn, drawn = round(share * drawn), round((1 - share) * drawn)
    asked = (config.epochs + 1) * val + test
    if config.recipe == "finetune":
        # The probe that it starts from and, should it come back to it, the probe that answers; and mixtures,
        # both ends and what is kept, under each shift.
        asked += train + (train + val + test)
        mixtures, ends = len(FRACTIONS) * min(val_drawn, MAX_IMAGES), 3 * min(test_drawn, MAX_IMAGES)
        asked += (1 + len(CORRUPTIONS)) * (mixtures + ends)
    return config.epochs * max(1, drawn // config.batch_size), asked


def _photos(parts: Manifest, split: str) -> int:
    """How many photos the images of a part show."""
    part = parts.part(split)
    return int(part.photo_codes().max()) + 1 if len(part) else 0


def total_seconds(study: Study, probes: Mapping[str, Probe], workers: int) -> float:
    """How long the cells that are left take so many workers."""
    cells = [cell for cell in study.store.cells(study.name) if cell.state in ("waiting", "running")]
    each = [probes[cell.arm].seconds for cell in cells]
    return max(sum(each) / workers, max(each, default=0.0))


def smallest_difference(study: Study, spread: float | None, seeds: int) -> tuple[float, str]:
    """The smallest difference that a study of so many seeds shows 8 times of 10, and what that rests on.

    Args:
        spread: deviation of the difference between single cells; None: that of arms which answer one image in
            ten differently.
        seeds: with the folds two trainings at least.
    """
    parts = study.parts(0, 0)
    tested = parts.part("test")
    folds, groups = study.folds or 1, parts.group_count() if study.folds else tested.group_count()
    level = (1 - LEVEL) / max(len(study.arms) - 1, 1)
    said = (
        f"if single cells differ by {spread:g} from pair to pair"
        if spread is not None
        else (f"if two arms answer one image in {1 / DISAGREE:.0f} differently; --std says better")
    )
    ratio = len(tested) / max(len(parts) - len(tested), 1)
    if (study.folds is not None or study.document["split"] == "folder") and seeds >= FEWEST_SEEDS:
        entry = DISAGREE if spread is None else spread**2 * groups / folds
        # Half of what two arms differ by is the image's own, half the training's.
        seen = MeanSquares(entry / 2, entry / 2 * (seeds + 1), entry / 2, seeds, groups)
        overlap = ratio if study.folds is not None else 0.0
        return crossed_studies(seen, seeds, overlap=overlap, alpha=level).smallest(), said
    deviation = math.sqrt(DISAGREE * folds / groups) if spread is None else spread
    return corrected_studies(deviation, seeds * folds, ratio, alpha=level).smallest(), said


def _step_seconds(
    model: nn.Module, config: TrainConfig, source: PixelSubset, classes: int, device: torch.device
) -> float:
    assert config.weight_decay is not None
    assert config.layer_decay is not None
    optimizer = build_optimizer(
        model,
        config.optimizer,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        layer_decay=config.layer_decay,
    )
    assert config.image_size is not None
    count, side = config.batch_size // config.accumulation_steps, config.image_size
    images = torch.randn(count, 3, side, side, device=device)
    targets = torch.arange(count, device=device) % classes
    model.train()
    spent: list[float] = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        for _ in range(config.accumulation_steps):
            with autocast(device, config.precision):
                logits = model(images)
            classification_loss(logits, targets, smoothing=config.label_smoothing).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - began)
    return float(np.median(spent[1:]))


def process_memory(probes: Mapping[str, Probe]) -> int | None:
    """Bytes that the hungriest arm's process takes."""
    known: list[Any] = [probe.memory for probe in probes.values() if probe.memory]
    return max(known, default=held_memory()) or None
