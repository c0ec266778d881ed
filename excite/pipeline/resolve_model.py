"""Which network is trained, with which attention, and where it is cut."""

from __future__ import annotations

from pathlib import Path

from excite.attention.registry import supports_identity
from excite.config.train_config import TrainConfig
from excite.errors import BAD_USAGE, ExciteError
from excite.models.catalog import LARGEST_FOR_CIFAR_STEM, create_model, input_statistics
from excite.models.densenet_config import VARIANTS, Variant
from excite.models.truncate import last_complete_block
from excite.models.weights import load_weights, weights_metadata
from excite.pipeline.resolver import Resolver

SMALL_MODEL, LARGE_MODEL = "densenet_bc_40_12", "densenet121"


def resolve_model(now: Resolver) -> None:
    """The network, its first layers, what its weights were built with, and the input that they expect."""
    size = now.config.image_size
    assert size is not None
    small = size <= LARGEST_FOR_CIFAR_STEM and not now.config.pretrained
    if now.config.model == "auto":
        now.choose("model", SMALL_MODEL if small else LARGE_MODEL, f"for images of {size} pixels")
    for name, value in (weights_metadata(now.config.weights) if now.config.weights else {}).items():
        if name not in now.config.model_options:
            now.set(model_options={**now.config.model_options, name: value})
            now.reasons.append(f"model_options.{name} {value}: the weights file says so")
    variant = _variant(now)
    if now.config.stem == "auto" and variant:
        now.set(stem="cifar" if small else variant.stem)
    if now.config.normalization == "auto":
        mean = input_statistics(now.config.model)[0] if now.trained else None
        now.set(normalization="symmetric" if mean == (0.5, 0.5, 0.5) else "imagenet")


def resolve_attention(now: Resolver) -> None:
    """Which attention, where, and whether it starts as the identity.

    Raises: ExciteError for places of attention where there is none.
    """
    variant = _variant(now)
    if now.config.attention == "auto":
        reason = "Squeeze-and-Excitation" if variant else "this network is trained as it is; or say which"
        now.choose("attention", "se" if variant else "none", reason)
    if now.config.attention == "none":
        _refuse_to_place_nothing(now.config)
        return
    if now.config.placement == "auto":
        now.set(placement="final" if variant else "standard")
    if now.config.identity is None:
        able = supports_identity(now.config.attention, now.config.attention_options)
        now.set(identity=now.trained and able)
        if now.trained:
            reason = "the weights keep their worth" if able else f"{now.config.attention} cannot start so"
            now.reasons.append(f"identity {str(able).lower()}: {reason}")


def resolve_truncation(now: Resolver) -> None:
    """Where a network ends whose weights lack some: behind the last block that has all of its own."""
    config = now.config
    if config.truncate_after is not None or not config.weights or not Path(config.weights).is_file():
        return  # a file that is not there is told when it is loaded
    options = {"image_size": config.image_size, **config.model_options}
    if config.stem != "auto":
        options["stem"] = config.stem
    model = create_model(config.model, num_classes=2, **options)
    report = load_weights(model, Path(config.weights))
    block = last_complete_block(model, report.missing)
    if block is not None:
        now.choose("truncate_after", block, "the last block that has all its weights")


def _variant(now: Resolver) -> Variant | None:
    return VARIANTS.get(now.config.model.removeprefix("excite:"))


def _refuse_to_place_nothing(config: TrainConfig) -> None:
    """Raises: ExciteError for options of attention where there is none."""
    for name, default in (("where", None), ("stages", None), ("identity", None), ("placement", "auto")):
        if getattr(config, name) != default:
            raise ExciteError(
                "there is no attention to place",
                where=f"--{name}",
                hint=f"{config.model} is trained as it is unless you say which, such as --attention se",
                exit_code=BAD_USAGE,
            )
