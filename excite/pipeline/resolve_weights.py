"""Resolve whether training starts from the weights of an installed package, and what follows from it."""

from __future__ import annotations

import numpy as np

from excite.config.train_config import TrainConfig
from excite.models.packaged_weights import find_packaged, is_local, local_networks
from excite.pipeline.resolver import Resolver

# Smaller images are trained from scratch: ImageNet's features are of larger pictures
# (docs/experiments/starting_weights.md).
SMALLEST_PRETRAINED = 48
# Training enlarges objects, by random crops; a larger input makes up for it in prediction:
# Touvron et al. 2019, "Fixing the train-test resolution discrepancy"; figures: docs/explanation/training.md.
PROBE_SIZE = 288
# Options that name a network or belong to excite's own ones.
NETWORK_OPTIONS = ("model", "weights", "stem", "truncate_after", "model_options", "placement")


def resolve_start(resolver: Resolver) -> None:
    """Whether training starts from pretrained weights where no option says so.

    It does if weights are on this machine, no option names a network or weights, and images are not small.
    """
    if resolver.config.pretrained is not None:
        return
    if (
        _names_network(resolver.config)
        or _shorter_side(resolver) < SMALLEST_PRETRAINED
        or not local_networks()
    ):
        resolver.set(pretrained=False)
        return
    reason = "more accurate on photos than training from scratch, which --recipe scratch does"
    resolver.choose("pretrained", True, reason)


def _names_network(config: TrainConfig) -> bool:
    plain = TrainConfig()
    named = any(getattr(config, name) != getattr(plain, name) for name in NETWORK_OPTIONS)
    return named or config.recipe == "scratch"


def resolve_packaged_weights(resolver: Resolver) -> None:
    """The network of ``--pretrained``, and the input of its weights; options that are set stay.

    Small images are enlarged to that input: the features of a network depend on the scale of what it sees.
    """
    if resolver.config.pretrained:
        _resolve_pretrained(resolver)
    if resolver.config.interpolation == "auto":
        resolver.set(interpolation="bilinear")


def _resolve_pretrained(resolver: Resolver) -> None:
    if resolver.config.model == "auto" and (names := local_networks()):
        resolver.choose("model", names[0], "its trained weights are on this machine")
    weights = find_packaged(resolver.config.model)
    if weights is None or not is_local(weights):
        return
    if resolver.config.image_size is None:
        resolver.add_reason("weights", str(weights), "an installed package")
        resolver.choose("image_size", *_image_size(resolver, weights.image_size))
    if resolver.config.interpolation == "auto":
        resolver.set(interpolation=weights.interpolation)


def _image_size(resolver: Resolver, trained: int) -> tuple[int, str]:
    """The input of a network whose weights were trained with this size, and the reason."""
    if resolver.config.recipe == "probe" and _shorter_side(resolver) >= PROBE_SIZE > trained:
        return PROBE_SIZE, f"photos have that many pixels; the weights were trained with {trained}"
    return trained, "the size that its weights were trained with"


def _shorter_side(resolver: Resolver) -> float:
    """The median over the images."""
    return float(np.median(resolver.manifest.table[["width", "height"]].min(axis=1)))
