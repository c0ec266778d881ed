"""Sets up the Trainer of a run: its batches, its initial weights, and its checkpoints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from excite.config.train_config import TrainConfig
from excite.data.batches import TrainingBatches
from excite.data.manifest import Manifest
from excite.pipeline.class_weights import class_weights, photo_weights
from excite.pipeline.context import RunContext
from excite.pipeline.finetuning import save_start, start_from_probe
from excite.pipeline.objective import objective_of, targets_of
from excite.runs.derive import augmentation_of
from excite.training.checkpoint import has_checkpoint
from excite.training.loop import Trainer
from excite.training.validation import Validation


def fit(context: RunContext, *, new_head: bool) -> None:
    """Train the network epoch by epoch, from its newest checkpoint if there is one.

    Args:
        new_head: whether the head is not part of the initial weights.
    """
    run, config, model = context.run, context.config, context.model.to(context.device)
    batches, objective = _training_batches(context), objective_of(context)
    if config.recipe == "finetune" and not has_checkpoint(run.checkpoints):
        probe = new_head and start_from_probe(context)
        if context.world.first:
            save_start(model, run.checkpoints, probe=probe)
    trainer = Trainer(
        model,
        batches,
        # Without test-time augmentation, which would take several times as long in every epoch.
        Validation(
            context.images("val"),
            targets_of(context.manifest.part("val")),
            replace(context.preprocessing, tta="none"),
            objective,
        ),
        config,
        folder=run.checkpoints,
        device=context.device,
        world=context.world,
        display=context.display,
        objective=objective,
        on_epoch=lambda counters: run.write_table("metrics.csv", counters.history),
        hooks=context.hooks,
    )
    resumed = trainer.resume()
    counters = trainer.state.counters
    context.hooks.start(run.path, config.to_dict(), batches.steps, trainer.steps_done, counters.history)
    if resumed:
        steps = f"{counters.step} step{'s' * (counters.step != 1)}"
        context.display.fact("resumed", f"in epoch {counters.epoch + 1}, after {steps}")
    counters = trainer.run()
    context.display.fact("trained", f"{counters.finished}; best epoch: {counters.best_epoch}")


def _training_batches(context: RunContext) -> TrainingBatches:
    config, images = context.config, context.manifest.part("train")
    return TrainingBatches(
        context.images("train", device=context.device),
        targets_of(images),
        classes=len(images.classes),
        preprocessing=context.preprocessing,
        batch_size=config.batch_size,
        augmentation=augmentation_of(config),
        seed=config.seed,
        parts=context.world.size * config.accumulation_steps,
        sampling=_sampling_probabilities(images, config),
        photos=images.photo_codes() if config.augmented_copies == "one" else None,
        shards=images.shard_codes() if config.shuffle == "blocks" else None,
        device=context.device,
    )


def _sampling_probabilities(images: Manifest, config: TrainConfig) -> np.ndarray | None:
    """(N,) probability of each training image to be drawn; None: each is drawn once per epoch."""
    if config.balance != "sampling":
        return None
    weights = class_weights(images, by_photo=config.augmented_copies == "one")
    each: np.ndarray = weights.numpy()[images.targets()].astype(np.float64)
    if config.augmented_copies == "one":
        each *= photo_weights(images)
    probabilities: np.ndarray = each / each.sum()
    return probabilities
