"""Put attention into a functional Keras model; the caller's model is left untouched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from excite.errors import BAD_USAGE, ExciteError, refuse_unknown_options
from excite.insertion.site import Site
from excite.keras.cloning import clone_layer, copy_weights
from excite.keras.densenet import ATTENTION
from excite.keras.finder import HOW_TO_NAME, Spot, Where, data_format_of, find_spots, functional_form
from excite.keras.squeeze_excitation import SqueezeExcitation


def insert(
    model: keras.Model,
    attention: str = "se",
    *,
    where: Where | None = None,
    placement: str = "standard",
    reduction: int | None = None,
    identity: bool = False,
    **options: Any,
) -> keras.Model:
    """A new model with attention in it; its layers keep names and weights, and the caller's stays as it was.

    The new layers are ``<block>_se``; with another strategy ``<block>_<strategy>_se``; after a layer that no
    family speaks of, ``<layer>_se``. Each has the precision of its neighbor.

    Args:
        attention: ``se``.
        where: which blocks or layers, as for ``sites``.
        strategy: ``standard``, ``pre``, ``post``, ``identity`` (on the shortcut) or ``inner``.
        reduction: r; 16 by default.
        identity: every gate starts at exactly one, so that the outputs are those of the model. It departs
            from the paper, whose gates start near one half and so halve a trained network's channels.
        options: further options of ``SqueezeExcitation``.

    Raises:
        ExciteError: for a model that is not functional, an unknown attention, option or strategy, a place
            that has attention already, or a reduction above the channels.
    """
    if attention not in ATTENTION:
        what = f"attention {attention!r} is not there for Keras"
        raise ExciteError(what, hint=f"there is {', '.join(ATTENTION)}", exit_code=BAD_USAGE)
    refuse_unknown_options(
        SqueezeExcitation, options, except_for=("data_format", "kwargs"), where=f"attention {attention!r}"
    )
    settings = {"reduction": 16 if reduction is None else reduction, "identity": identity, **options}
    functional = functional_form(model)
    spots = find_spots(functional, where, placement)
    for spot in spots:
        _check(spot.site, spots, settings["reduction"])
    layout = data_format_of(functional)
    made = {}
    for spot in spots:
        neighbor = functional.get_layer(spot.site.path)
        made[spot.name] = ATTENTION[attention](
            name=spot.name, data_format=layout, dtype=neighbor.dtype_policy, **settings
        )
    ways = {(spot.site.path, spot.site.position): made[spot.name] for spot in spots}

    clones: list[tuple[keras.Layer, keras.Layer]] = []

    def clone(layer: keras.Layer) -> keras.Layer:
        clones.append((layer, clone_layer(layer)))
        return clones[-1][1]

    def call(layer: keras.Layer, *inputs: Any, **named: Any) -> Any:
        if gate := ways.get((layer.name, "before")):
            inputs = (gate(inputs[0]), *inputs[1:])
        if gate := ways.get((layer.name, "on the shortcut")):
            shortcut, *others = inputs[0]
            inputs = ([gate(shortcut), *others], *inputs[1:])
        output = layer(*inputs, **named)
        gate = ways.get((layer.name, "after"))
        return gate(output) if gate else output

    # Inputs of our own, because those of clone_model lose their names.
    images = keras.tree.map_structure(
        lambda old: keras.Input(batch_shape=old.shape, dtype=old.dtype, name=old._keras_history[0].name),
        functional.input,
    )
    changed = keras.models.clone_model(
        functional, input_tensors=images, call_function=call, clone_function=clone
    )
    for layer, copy in clones:
        if isinstance(layer, keras.Layer):  # plain operations, such as ops.add, have no weights
            copy_weights(layer, copy)
    return changed


def _check(site: Site, spots: Sequence[Spot], reduction: int) -> None:
    """Raises: ExciteError where attention cannot go."""
    taken = [spot for spot in spots if spot.site.has_attention]
    if site.has_attention:
        raise ExciteError(
            f"{len(taken)} of {len(spots)} sites have attention already",
            where=site.path,
            hint="choose other sites with where=, or another place in the block with strategy=",
            exit_code=BAD_USAGE,
        )
    if not site.channels:
        what = "its features are no map with a known number of channels"
        raise ExciteError(what, where=site.path, hint=HOW_TO_NAME, exit_code=BAD_USAGE)
    if reduction > site.channels:
        raise ExciteError(
            f"reduction {reduction} is larger than the {site.channels} channels here",
            where=site.path,
            hint=f"give a reduction of at most {min(spot.site.channels for spot in spots)}",
            exit_code=BAD_USAGE,
        )
