"""Options left open (``auto``, None) become what the data and the machine suggest, each with its reason."""

from __future__ import annotations

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.pipeline.resolve_data import (
    check_folds,
    check_questions,
    settle_images,
    settle_positive,
    settle_split,
)
from excite.pipeline.resolve_model import settle_attention, settle_cut, settle_network
from excite.pipeline.resolve_training import settle_loop, settle_precision, settle_recipe
from excite.pipeline.resolver import Settling
from excite.system.devices import check_compiler, choose_device


def settle(config: TrainConfig, manifest: Manifest) -> tuple[TrainConfig, list[str]]:
    """The configuration with nothing left open, and a line for each choice that a user may want to change.

    What a recipe does not know stays as it is: a probe has no learning rate.

    Raises:
        ExciteError: for options that contradict each other, the data or the machine.
    """
    now = Settling(config, manifest, choose_device(config.device))
    if config.device == "auto":
        now.choose("device", now.device.type, "the fastest that this machine has")
    if config.compile:
        check_compiler()
    check_folds(config)
    settle_split(now)
    settle_recipe(now)
    settle_precision(now)
    settle_images(now)
    settle_network(now)
    settle_attention(now)
    settle_positive(now)
    check_questions(now.config, manifest)
    settle_cut(now)
    if now.config.recipe != "probe":
        settle_loop(now)
    return now.config, now.reasons
