"""Resolve options of the model: network, attention, and truncation."""

from __future__ import annotations

from pathlib import Path

from excite.attention.registry import get_factory, supports_identity
from excite.config.train_config import TrainConfig
from excite.data.augmentation import PRESETS
from excite.errors import BAD_USAGE, ExciteError
from excite.models.catalog import LARGEST_FOR_CIFAR_STEM, create_model, find_library, input_statistics
from excite.models.densenet_config import VARIANTS, Variant
from excite.models.truncate import last_complete_block
from excite.models.weights import load_weights, weights_metadata
from excite.models.weights_source import require_weights
from excite.pipeline.resolver import Resolver
from excite.plugins.registry import get
from excite.tracking.hooks import create_hooks
from excite.training.losses import CROSS_ENTROPY

SMALL_MODEL, LARGE_MODEL = "densenet_bc_40_12", "densenet121"


def check_names(config: TrainConfig) -> None:
    """Check what takes no image: all names, and that pretrained weights can be had.

    Raises: ExciteError for an unknown name, a missing weights file, and weights out of reach.
    """
    if config.augment not in ("auto", *PRESETS):
        get("augmentation", config.augment)
    if config.loss != CROSS_ENTROPY:
        get("loss", config.loss)
    create_hooks(config.track)
    if config.model != "auto":
        find_library(config.model)
    if config.attention not in ("auto", "none"):
        get_factory(config.attention)
    if config.weights and not Path(config.weights).is_file():
        raise ExciteError("the weights file does not exist", where=config.weights, hint="check the path")
    if config.pretrained:
        require_weights(config.model)


def resolve_model(resolver: Resolver) -> None:
    """The network, its stem, the constructor options recorded with its weights, and the normalization."""
    size = resolver.config.image_size
    assert size is not None
    small = size <= LARGEST_FOR_CIFAR_STEM and not resolver.config.pretrained
    if resolver.config.model == "auto":
        resolver.choose(
            "model", SMALL_MODEL if small else LARGE_MODEL, f"the default for inputs of {size} pixels"
        )
    for name, value in (weights_metadata(resolver.config.weights) if resolver.config.weights else {}).items():
        if name not in resolver.config.model_options:
            resolver.set(model_options={**resolver.config.model_options, name: value})
            resolver.add_reason(f"model_options.{name}", value, "recorded in the weights file")
    variant = _variant(resolver)
    if resolver.config.stem == "auto" and variant:
        resolver.set(stem="cifar" if small else variant.stem)
    if resolver.config.normalization == "auto":
        mean = input_statistics(resolver.config.model)[0] if resolver.has_weights else None
        resolver.set(normalization="symmetric" if mean == (0.5, 0.5, 0.5) else "imagenet")


def resolve_attention(resolver: Resolver) -> None:
    """The attention module, its placement, and whether it starts as the identity.

    Raises: ExciteError for options of attention when there is none.
    """
    variant = _variant(resolver)
    if resolver.config.attention == "auto":
        reason = (
            "Squeeze-and-Excitation, the default of this network" if variant else "add one with --attention"
        )
        resolver.choose("attention", "se" if variant else "none", reason)
    if resolver.config.attention == "none":
        _refuse_attention_options(resolver.config)
        return
    if resolver.config.placement == "auto":
        resolver.set(placement="final" if variant else "standard")
    if resolver.config.identity is None:
        able = supports_identity(resolver.config.attention, resolver.config.attention_options)
        resolver.set(identity=resolver.has_weights and able)
        if resolver.has_weights:
            reason = "the pretrained weights stay valid at the start"
            if not able:
                reason = f"{resolver.config.attention} with these options cannot start as the identity"
            resolver.add_reason("identity", str(able).lower(), reason)


def resolve_truncation(resolver: Resolver) -> None:
    """The end of a network whose weights are incomplete: its last block with all of them."""
    config = resolver.config
    if config.truncate_after is not None or not config.weights or not Path(config.weights).is_file():
        return  # loading reports a missing file
    options = {"image_size": config.image_size, **config.model_options}
    if config.stem != "auto":
        options["stem"] = config.stem
    model = create_model(config.model, num_classes=2, **options)
    report = load_weights(model, Path(config.weights))
    block = last_complete_block(model, report.missing)
    if block is not None:
        resolver.choose("truncate_after", block, "the last block with all weights in the file")


def _variant(resolver: Resolver) -> Variant | None:
    return VARIANTS.get(resolver.config.model.removeprefix("excite:"))


def _refuse_attention_options(config: TrainConfig) -> None:
    """Raises: ExciteError for an option of attention when there is none."""
    for name, default in (("where", None), ("stages", None), ("identity", None), ("placement", "auto")):
        if getattr(config, name) != default:
            raise ExciteError(
                "has no effect without attention",
                where=f"--{name}",
                hint="add a module, such as --attention se",
                exit_code=BAD_USAGE,
            )
