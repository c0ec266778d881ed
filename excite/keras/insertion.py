"""Inserts attention into a copy of a functional Keras model, and removes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras

from excite.errors import BAD_USAGE, ExciteError
from excite.insertion.site import Site
from excite.keras.cloning import clone_layer, copy_weights
from excite.keras.densenet import ATTENTION, check_attention
from excite.keras.finder import SELECT_HINT, Selectors, Spot, data_format_of, find_spots, functional_form


def insert(
    model: keras.Model,
    attention: str = "se",
    *,
    where: Selectors | None = None,
    stages: int | Sequence[int] | None = None,
    placement: str = "standard",
    reduction: int | None = None,
    identity: bool = False,
    **options: Any,
) -> keras.Model:
    """Returns a new model with attention; layers keep their names and weights, and ``model`` stays unchanged.

    The new layers are called ``<block>_se``, with another placement ``<block>_<placement>_se``, and after a
    single layer ``<layer>_se``. Each has the dtype policy of the layer it follows.

    Args:
        attention: ``se``.
        where: the blocks or layers, as in ``sites``.
        stages: levels of resolution, as in ``sites``.
        placement: ``standard``, ``pre``, ``post``, ``identity`` (on the shortcut), or ``inner``.
        reduction: r; 16 by default.
        identity: start with every gate at exactly one, so that the outputs do not change. This departs from
            the paper, whose gates start near one half and so halve the channels of a trained network.
        options: further options of ``SqueezeExcitation``.

    Raises:
        ExciteError: for a model that is not functional, an unknown attention, option, or placement, a site
            that already has attention, or a reduction above the number of channels.

    Example:
        >>> images = keras.Input((8, 8, 3))
        >>> model = keras.Model(images, keras.layers.Conv2D(4, 3, name="first")(images))
        >>> gated = insert(model, "se", where="first", reduction=2, identity=True)
        >>> [layer.name for layer in gated.layers][1:]
        ['first', 'first_se']
    """
    check_attention(attention, options)
    settings = {"reduction": 16 if reduction is None else reduction, "identity": identity, **options}
    functional = functional_form(model)
    spots = find_spots(functional, where, placement, stages)
    for spot in spots:
        _check(spot.site, spots, settings["reduction"])
    data_format = data_format_of(functional)
    gates: dict[tuple[str, str], keras.Layer] = {}
    for spot in spots:
        dtype = functional.get_layer(spot.site.path).dtype_policy
        gate = ATTENTION[attention](name=spot.name, data_format=data_format, dtype=dtype, **settings)
        gates[spot.site.path, spot.site.position] = gate
    return _clone_with_gates(functional, gates)


def remove(model: keras.Model) -> keras.Model:
    """Returns a new model without inserted attention; all other layers keep their names and weights.

    ``remove(insert(model))`` computes the same as ``model``. Inserted layers are recognized by their class
    and the ``_se`` at the end of their name, also after saving and loading.

    Raises:
        ExciteError: for a model that is not functional or has no such layer.

    Example:
        >>> images = keras.Input((8, 8, 3))
        >>> model = keras.Model(images, keras.layers.Conv2D(4, 3, name="first")(images))
        >>> gated = insert(model, "se", where="first", reduction=2)
        >>> [layer.name for layer in remove(gated).layers][1:]
        ['first']
    """
    functional = functional_form(model)
    attention = (layer for layer in functional.layers if type(layer) in ATTENTION.values())
    names = {str(layer.name) for layer in attention if layer.name.endswith("_se")}
    if not names:
        what, hint = "this model has no inserted attention", "insert some with excite.keras.insert"
        raise ExciteError(what, where="remove", hint=hint, exit_code=BAD_USAGE)
    return _clone_with_gates(functional, {}, without=names)


def _clone_with_gates(
    model: keras.Model,
    gates: Mapping[tuple[str, str], keras.Layer],
    *,
    without: Collection[str] = (),
) -> keras.Model:
    """A copy of the model with a layer at each (layer name, position), and without some layers."""
    clones: list[tuple[keras.Layer, keras.Layer]] = []

    def clone(layer: keras.Layer) -> keras.Layer:
        clones.append((layer, clone_layer(layer)))
        return clones[-1][1]

    def call(layer: keras.Layer, *inputs: Any, **named: Any) -> Any:
        if layer.name in without:
            return inputs[0]
        if gate := gates.get((layer.name, "before")):
            inputs = (gate(inputs[0]), *inputs[1:])
        if gate := gates.get((layer.name, "on the shortcut")):
            shortcut, *others = inputs[0]
            inputs = ([gate(shortcut), *others], *inputs[1:])
        output = layer(*inputs, **named)
        gate = gates.get((layer.name, "after"))
        return gate(output) if gate else output

    # clone_model's own inputs would lose their names.
    images = keras.tree.map_structure(
        lambda old: keras.Input(batch_shape=old.shape, dtype=old.dtype, name=old._keras_history[0].name),
        model.input,
    )
    result = keras.models.clone_model(model, input_tensors=images, call_function=call, clone_function=clone)
    for layer, copy in clones:
        # Operations such as ops.add have no weights.
        if isinstance(layer, keras.Layer) and layer.name not in without:
            copy_weights(layer, copy)
    return result


def _check(site: Site, spots: Sequence[Spot], reduction: int) -> None:
    """Raises: ExciteError for a site that cannot take attention."""
    if site.has_attention:
        occupied = sum(spot.site.has_attention for spot in spots)
        raise ExciteError(
            f"{occupied} of {len(spots)} sites already have attention",
            where=site.path,
            hint="select other sites with where=, or another placement=",
            exit_code=BAD_USAGE,
        )
    if not site.channels:
        what = "attention needs a feature map with a known number of channels"
        raise ExciteError(what, where=site.path, hint=SELECT_HINT, exit_code=BAD_USAGE)
    if reduction > site.channels:
        raise ExciteError(
            f"reduction {reduction} is larger than the number of channels, {site.channels}",
            where=site.path,
            hint=f"use a reduction of at most {min(spot.site.channels for spot in spots)}",
            exit_code=BAD_USAGE,
        )
