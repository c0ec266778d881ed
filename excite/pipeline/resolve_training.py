"""Resolve the recipe and the options of its training loop."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from excite.config.task import MULTILABEL
from excite.config.train_config import LOOP, TrainConfig
from excite.data.decoded_pixels import fits_the_cache
from excite.errors import BAD_USAGE, ExciteError
from excite.pipeline.resolver import Resolver
from excite.runs.derive import augmentation_of
from excite.system.devices import choose_precision
from excite.training.losses import build_loss
from excite.training.optimization import DEFAULTS
from excite.training.trainable import ALL

# Groups; with 111 and 245, fine-tuning was not better than a linear probe (docs/experiments/mpox.md).
FINETUNE_FROM = 500
FINETUNE_LR_FACTOR, FINETUNE_LAYER_DECAY, FINETUNE_FROZEN, FINETUNE_PATIENCE = 0.4, 0.65, 6, 10
PRECISION_REASONS = {
    "bfloat16": "faster than float32 on this machine",
    "float16": "this GPU does not support bfloat16",
    "float32": "lower precision is not faster on this machine",
}


def resolve_recipe(resolver: Resolver) -> None:
    """Which weights are trained: all, from random or from pretrained ones, or only a linear head.

    Raises: ExciteError for a recipe without the weights that it needs, or with options that it does not use.
    """
    recipe = resolver.config.recipe
    if recipe == "auto":
        resolver.choose("recipe", *_recipe(resolver))
    elif recipe in ("probe", "finetune") and not resolver.has_weights:
        what, hint = f"{recipe} needs pretrained weights", "add --pretrained or --weights FILE"
        raise ExciteError(what, where="--recipe", hint=hint, exit_code=BAD_USAGE)
    elif recipe == "scratch" and resolver.has_weights:
        what, hint = "scratch starts from random weights", "omit --recipe, or the pretrained weights"
        raise ExciteError(what, where="--recipe", hint=hint, exit_code=BAD_USAGE)
    elif recipe == "probe" and (given := _loop_options(resolver.config)):
        what, hint = "has no effect with --recipe probe", "omit it, or choose --recipe finetune"
        raise ExciteError(what, where=", ".join(given), hint=hint, exit_code=BAD_USAGE)


def resolve_precision(resolver: Resolver) -> None:
    """The number format of the network. Raises: ExciteError for one that the device does not support."""
    if resolver.config.precision != "auto":
        choose_precision(resolver.config.precision, resolver.device)
    elif resolver.config.recipe == "probe":
        resolver.set(precision="float32")  # as a classifier computes, whose features they are
    else:
        precision = choose_precision("auto", resolver.device)
        resolver.choose("precision", precision, PRECISION_REASONS[precision])


def resolve_pixel_cache(resolver: Resolver) -> None:
    """Whether images are decoded once into the cache, or whenever they are needed."""
    if resolver.config.pixel_cache != "auto":
        return
    assert resolver.config.image_size is not None
    images = len(resolver.manifest)
    if fits_the_cache(images, resolver.config.image_size):
        resolver.set(pixel_cache="on")
    else:
        needed = images * resolver.config.image_size**2 * 3 / 2**30
        resolver.choose("pixel_cache", "off", f"{images:,} decoded images would take {needed:,.0f} GiB")


def refuse_blocks(resolver: Resolver) -> None:
    """Raises: ExciteError for an order in blocks of shards that the images or other options do not allow."""
    config, what = resolver.config, ""
    if config.shuffle == "full":
        return
    if not resolver.manifest.sharded:
        what, hint = "the images are not in shards", "write them with excite shard, or omit it"
    elif config.balance == "sampling":
        what, hint = "excludes --balance sampling, which draws from all images", "use --balance weights"
    elif config.augmented_copies == "one":
        what, hint = "excludes --augmented-copies one, which draws from all images", "choose all"
    if what:
        raise ExciteError(what, where="--shuffle blocks", hint=hint, exit_code=BAD_USAGE)


def resolve_loop(resolver: Resolver) -> None:
    """The options of the training loop; fine-tuning changes pretrained weights more gently.

    Raises: ExciteError for an augmentation or a loss that cannot be used, and for an option of fine-tuning
    without it.
    """
    tuned, optimizer = resolver.finetunes, DEFAULTS[resolver.config.optimizer]
    if resolver.config.keep == "tuned" and not tuned:
        what, hint = "has no effect without fine-tuning", "omit it, or add --recipe finetune"
        raise ExciteError(what, where="--keep", hint=hint, exit_code=BAD_USAGE)
    if resolver.config.train != ALL and not resolver.has_weights:
        what, hint = "the other weights would stay random", "add --pretrained or --weights FILE"
        raise ExciteError(what, where="--train", hint=hint, exit_code=BAD_USAGE)
    refuse_blocks(resolver)
    if resolver.config.augment == "auto":
        resolver.set(augment="small" if tuned else "standard")
    _check_plugins(resolver)
    if resolver.config.batch_norm == "auto":
        # With batch statistics the linear probe that training starts from is wrong in the first steps.
        resolver.set(batch_norm="frozen" if tuned else "adapted")
    if resolver.config.patience is None and tuned:
        resolver.set(patience=FINETUNE_PATIENCE)
    if resolver.config.monitor == "auto":
        by_loss = tuned or resolver.manifest.task == MULTILABEL
        resolver.set(monitor="loss" if by_loss else "accuracy")
    if resolver.config.augmented_copies == "auto":
        one = resolver.manifest.has_copies and tuned and resolver.config.shuffle == "full"
        resolver.set(augmented_copies="one" if one else "all")
        if one:
            photos = len(np.unique(resolver.manifest.photo_codes()))
            reason = f"{len(resolver.manifest)} images show {photos} photos; each counts once per epoch"
            resolver.add_reason("augmented_copies", "one", reason)
    if resolver.config.lr is None:
        resolver.set(lr=(FINETUNE_LR_FACTOR if tuned else 1.0) * optimizer.lr)
    if resolver.config.layer_decay is None:
        resolver.set(layer_decay=FINETUNE_LAYER_DECAY if tuned else 1.0)
    if resolver.config.frozen_layers is None:
        resolver.set(frozen_layers=FINETUNE_FROZEN if tuned and resolver.config.train == ALL else 0)
    if resolver.config.weight_decay is None:
        resolver.set(weight_decay=optimizer.weight_decay)


def _check_plugins(resolver: Resolver) -> None:
    """Call the augmentation and the loss once. Raises: ExciteError for one that cannot be used."""
    config = resolver.config
    augmentation = augmentation_of(config)
    if augmentation.transform is not None:
        assert config.image_size is not None
        augmentation.transform.check(config.image_size)
    build_loss(config, len(resolver.manifest.classes), torch.device("cpu"), mixed=augmentation.mixes)


def _recipe(resolver: Resolver) -> tuple[str, str]:
    if not resolver.has_weights:
        return "scratch", "no pretrained weights"
    if resolver.config.attention not in ("auto", "none"):
        return "finetune", f"{resolver.config.attention} has no pretrained weights"
    if given := _loop_options(resolver.config):
        verb = "is an option" if len(given) == 1 else "are options"
        return "finetune", f"{' and '.join(given)} {verb} of the training loop"
    if resolver.device.type == "cpu":
        return "probe", "pretrained weights and no GPU; --recipe finetune trains all weights"
    groups = resolver.manifest.group_count()
    if groups < FINETUNE_FROM:
        return "probe", f"pretrained weights, and {groups} groups are too few for fine-tuning"
    return "finetune", f"pretrained weights, a GPU, and {groups} groups"


def _loop_options(config: TrainConfig) -> list[str]:
    """The flags of options of the training loop that differ from their defaults."""
    plain = TrainConfig()
    names = [each.name for each in dataclasses.fields(config) if each.metadata["panel"] == LOOP]
    given = [name for name in names if getattr(config, name) != getattr(plain, name)]
    return [f"--{name.replace('_', '-')}" for name in given]
