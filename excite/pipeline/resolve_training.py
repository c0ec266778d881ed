"""Which recipe, and what its training loop takes where nothing is said."""

from __future__ import annotations

import dataclasses

import numpy as np

from excite.config.train_config import LOOP, TrainConfig
from excite.errors import BAD_USAGE, ExciteError
from excite.pipeline.resolver import Resolver
from excite.runs.derive import augmentation_of
from excite.system.devices import choose_precision
from excite.training.optimization import DEFAULTS

FINETUNE_FROM = 500  # groups; with 111 and with 245 fine-tuning gained nothing over a probe (docs/mpox.md)
FINETUNE_SHARE, FINETUNE_LAYER_DECAY, FINETUNE_PATIENCE = 0.4, 0.65, 10
PRECISION_REASONS = {
    "bfloat16": "this machine multiplies it faster than float32",
    "float16": "this GPU has no bfloat16",
    "float32": "this machine gains nothing from less",
}


def resolve_recipe(now: Resolver) -> None:
    """What is learned, and from what on.

    Raises: ExciteError for a recipe that lacks what it begins with, or is given what it does without.
    """
    recipe = now.config.recipe
    if recipe == "auto":
        now.choose("recipe", *_recipe(now))
    elif recipe in ("probe", "finetune") and not now.trained:
        what, hint = f"{recipe} begins with trained weights", "add --pretrained or --weights FILE"
        raise ExciteError(what, where="--recipe", hint=hint, exit_code=BAD_USAGE)
    elif recipe == "scratch" and now.trained:
        what, hint = "scratch begins with random weights", "leave out --recipe, or the weights"
        raise ExciteError(what, where="--recipe", hint=hint, exit_code=BAD_USAGE)
    elif recipe == "probe" and (given := _of_the_loop(now.config)):
        what, hint = "part of a training loop, which a probe has not", "leave it out, or --recipe finetune"
        raise ExciteError(what, where=", ".join(given), hint=hint, exit_code=BAD_USAGE)


def resolve_precision(now: Resolver) -> None:
    """In which numbers the network computes. Raises: ExciteError for what the device cannot."""
    if now.config.precision != "auto":
        choose_precision(now.config.precision, now.device)
    elif now.config.recipe == "probe":
        now.set(precision="float32")  # features are computed as a classifier computes
    else:
        precision = choose_precision("auto", now.device)
        now.choose("precision", precision, PRECISION_REASONS[precision])


def resolve_loop(now: Resolver) -> None:
    """The options of a training loop: trained weights are to be changed, not replaced.

    Raises: ExciteError for a change of the augmentation that is none.
    """
    tuned, optimizer = now.finetunes, DEFAULTS[now.config.optimizer]
    if now.config.augment == "auto":
        now.set(augment="small" if tuned else "standard")
    augmentation_of(now.config)
    if now.config.batch_norm == "auto":
        # With statistics of its batches the probe that a network starts from is far off in the first steps.
        now.set(batch_norm="frozen" if tuned else "adapted")
    if now.config.patience is None and tuned:
        now.set(patience=FINETUNE_PATIENCE)
    if now.config.monitor == "auto":
        now.set(monitor="loss" if tuned else "accuracy")
    if now.config.augmented_copies == "auto":
        one = now.manifest.has_copies and tuned
        now.set(augmented_copies="one" if one else "all")
        if one:
            photos = len(np.unique(now.manifest.photo_codes()))
            counted = f"{len(now.manifest)} images are {photos} photos, of which each counts once"
            now.reasons.append(f"copies one: {counted}")
    if now.config.lr is None:
        now.set(lr=(FINETUNE_SHARE if tuned else 1.0) * optimizer.lr)
    if now.config.layer_decay is None:
        now.set(layer_decay=FINETUNE_LAYER_DECAY if tuned else 1.0)
    if now.config.weight_decay is None:
        now.set(weight_decay=optimizer.weight_decay)


def _recipe(now: Resolver) -> tuple[str, str]:
    if not now.trained:
        return "scratch", "there are no weights to start from"
    if now.config.attention not in ("auto", "none"):
        return "finetune", f"{now.config.attention} is to be learned"
    if given := _of_the_loop(now.config):
        verb = "says" if len(given) == 1 else "say"
        return "finetune", f"{' and '.join(given)} {verb} how weights are to be trained"
    if now.device.type == "cpu":
        return "probe", "there are weights to start from and no GPU; --recipe finetune changes them, too"
    groups = now.manifest.group_count()
    if groups < FINETUNE_FROM:
        return "probe", f"there are weights to start from, and {groups} groups are few to change them with"
    return "finetune", f"there are weights to start from, a GPU and {groups} groups"


def _of_the_loop(config: TrainConfig) -> list[str]:
    """The flags of a training loop's options that are not what they are by default."""
    plain = TrainConfig()
    names = [each.name for each in dataclasses.fields(config) if each.metadata["panel"] == LOOP]
    given = [name for name in names if getattr(config, name) != getattr(plain, name)]
    return [f"--{name.replace('_', '-')}" for name in given]
