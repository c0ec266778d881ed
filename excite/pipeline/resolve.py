"""Give options that are ``auto`` or None their values, from the data and the machine, with reasons."""

from __future__ import annotations

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.pipeline.resolve_data import (
    check_evaluation_options,
    check_folds,
    resolve_images,
    resolve_positive,
    resolve_split,
    resolve_thumbnails,
)
from excite.pipeline.resolve_model import resolve_attention, resolve_model, resolve_truncation
from excite.pipeline.resolve_training import (
    resolve_loop,
    resolve_pixel_cache,
    resolve_precision,
    resolve_recipe,
)
from excite.pipeline.resolve_weights import resolve_packaged_weights, resolve_start
from excite.pipeline.resolver import Resolver
from excite.system.devices import check_compiler, choose_device


def resolve(config: TrainConfig, manifest: Manifest) -> tuple[TrainConfig, list[str]]:
    """The configuration with all options resolved, and a line with the reason for each that matters to users.

    Options that a recipe does not use stay as they are: a linear probe has no learning rate.

    Raises:
        ExciteError: for options that contradict each other, the data, or the machine.
    """
    resolver = Resolver(config, manifest, choose_device(config.device))
    if config.device == "auto":
        resolver.choose("device", resolver.device.type, "the fastest available")
    if config.compile:
        check_compiler()
    # In this order: the recipe depends on whether there are weights, the precision and the input size on the
    # recipe, the network on the input size.
    check_folds(config)
    resolve_split(resolver)
    resolve_start(resolver)
    resolve_recipe(resolver)
    resolve_precision(resolver)
    resolve_packaged_weights(resolver)
    resolve_images(resolver)
    resolve_pixel_cache(resolver)
    resolve_model(resolver)
    resolve_attention(resolver)
    resolve_positive(resolver)
    resolve_thumbnails(resolver)
    check_evaluation_options(resolver.config, manifest)
    resolve_truncation(resolver)
    if resolver.config.recipe != "probe":
        resolve_loop(resolver)
    return resolver.config, resolver.reasons
