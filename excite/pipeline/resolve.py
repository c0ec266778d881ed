"""Options left open (``auto``, None) become what the data and the machine suggest, each with its reason."""

from __future__ import annotations

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.pipeline.resolve_data import (
    check_evaluation_options,
    check_folds,
    resolve_images,
    resolve_positive,
    resolve_split,
)
from excite.pipeline.resolve_model import resolve_attention, resolve_model, resolve_truncation
from excite.pipeline.resolve_training import resolve_loop, resolve_precision, resolve_recipe
from excite.pipeline.resolver import Resolver
from excite.system.devices import check_compiler, choose_device


def resolve(config: TrainConfig, manifest: Manifest) -> tuple[TrainConfig, list[str]]:
    """The configuration with nothing left open, and a line for each choice that a user may want to change.

    What a recipe does not know stays as it is: a probe has no learning rate.

    Raises:
        ExciteError: for options that contradict each other, the data or the machine.
    """
    now = Resolver(config, manifest, choose_device(config.device))
    if config.device == "auto":
        now.choose("device", now.device.type, "the fastest that this machine has")
    if config.compile:
        check_compiler()
    check_folds(config)
    resolve_split(now)
    resolve_recipe(now)
    resolve_precision(now)
    resolve_images(now)
    resolve_model(now)
    resolve_attention(now)
    resolve_positive(now)
    check_evaluation_options(now.config, manifest)
    resolve_truncation(now)
    if now.config.recipe != "probe":
        resolve_loop(now)
    return now.config, now.reasons
