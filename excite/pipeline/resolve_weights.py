"""Resolve what follows from trained weights in an installed package: the network and its preprocessing."""

from __future__ import annotations

from excite.models.packaged_weights import find_packaged, is_local, local_networks
from excite.pipeline.resolver import Resolver


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
    resolver.add_reason("pretrained", "true", f"weights of {weights}")
    if resolver.config.image_size is None:
        resolver.choose("image_size", weights.image_size, "the size that its weights were trained with")
    if resolver.config.interpolation == "auto":
        resolver.set(interpolation=weights.interpolation)
