"""Looks at one functional Keras model: where attention can go in it, and what the layer there is called."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import keras

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.insertion.site import PLACEMENTS, Site, SiteTable
from excite.keras.families import FAMILIES, Family, layer_name

One = str | type[keras.Layer] | Callable[[keras.Layer], bool]
Where = One | Sequence[One]

HOW_TO_NAME = "name layers with where=: a name such as 'conv4_block*', a class, or a function of the layer"


def sites(model: keras.Model, *, where: Where | None = None, placement: str = "standard") -> SiteTable:
    """Where attention can go in this model, which is left as it is.

    Args:
        where: all known blocks by default. A name with ``*``, a class, a function of the layer, or several of
            them. One that fits blocks, or their places, means the places of these blocks; any other means
            after each layer that it fits (before, with ``pre``).
        strategy: ``standard``, ``pre``, ``post``, ``identity`` or ``inner``, as ``families.py`` has them.

    Raises:
        ExciteError: for a model without known blocks and no ``where``, a ``where`` that nothing fits, or an
            unknown strategy or one that a block has no place for.
    """
    return SiteTable(spot.site for spot in find_spots(functional_form(model), where, placement))


@dataclass(frozen=True)
class Spot:
    """A site and the name of the layer that goes there."""

    site: Site
    name: str


def find_spots(model: keras.Model, where: Where | None, placement: str) -> list[Spot]:
    if placement not in PLACEMENTS:
        raise unknown_name("strategy", placement, PLACEMENTS)
    known = _family_spots(model, placement)
    if where is None:
        if not known:
            what = f"no block of {model.name} is known here"
            raise ExciteError(what, where="sites", hint=HOW_TO_NAME, exit_code=BAD_USAGE)
        chosen = known
    else:
        wanted = list(where) if isinstance(where, Sequence) and not isinstance(where, str) else [where]
        found = {spot.name: spot for one in wanted for spot in _fitting(model, known, one, placement)}
        order = {layer.name: number for number, layer in enumerate(model.layers)}
        chosen = sorted(found.values(), key=lambda spot: order.get(spot.site.path, 0))
    for spot in chosen:
        if not spot.site.position:
            what = f"{spot.site.kind} has no place for strategy {placement!r}"
            hint = f"it has {', '.join(FAMILIES[spot.site.kind].places)}; or {HOW_TO_NAME}"
            raise ExciteError(what, where=spot.site.block, hint=hint, exit_code=BAD_USAGE)
    return chosen


def _family_spots(model: keras.Model, placement: str) -> list[Spot]:
    """One spot for each block that is known; way is '' where it has no such place."""
    names = [layer.name for layer in model.layers]
    known = [(kind, family, block) for kind, family in FAMILIES.items() for block in family.blocks(names)]
    return [_block_spot(model, kind, family, block, placement) for kind, family, block in known]


def _block_spot(model: keras.Model, kind: str, family: Family, block: str, placement: str) -> Spot:
    name = f"{block}_se" if placement == "standard" else f"{block}_{placement}_se"
    names = {layer.name for layer in model.layers}
    native = placement == "standard" and any(other.startswith(family.native.format(block)) for other in names)
    for place in family.places.get(placement, ()):
        path = layer_name(place.layer, block)
        if path in names:
            site = _site(model, path, block, kind, place.position, placement, native or name in names)
            return Spot(site, name)
    return Spot(Site(block, block, kind, "", 0, None, placement, native), name)


def _fitting(model: keras.Model, known: Iterable[Spot], one: One, placement: str) -> list[Spot]:
    fits = _matcher(one)
    if isinstance(one, str):
        blocks = [spot for spot in known if fits(spot.site.block) or fits(spot.site.path)]
    else:
        blocks = [spot for spot in known if spot.site.position and fits(model.get_layer(spot.site.path))]
    if blocks:
        return blocks
    layers = [layer for layer in model.layers if fits(layer.name if isinstance(one, str) else layer)]
    if not layers:
        near = difflib.get_close_matches(str(one), [layer.name for layer in model.layers], n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}?" if near else HOW_TO_NAME
        what = f"no layer fits {one if isinstance(one, str) else getattr(one, '__name__', one)!r}"
        raise ExciteError(what, where="where", hint=hint, exit_code=BAD_USAGE)
    position = {"standard": "after", "pre": "before"}.get(placement)
    if position is None:
        what = f"strategy {placement!r} needs a block that is known, and {layers[0].name!r} is a layer"
        raise ExciteError(what, where="where", exit_code=BAD_USAGE)
    names = {layer.name for layer in model.layers}
    return [
        _undecorated_spot(model, layer.name, position, placement, f"{layer.name}_se" in names)
        for layer in layers
    ]


def _undecorated_spot(
    model: keras.Model, name: str, position: str, placement: str, has_attention: bool
) -> Spot:
    kind = type(model.get_layer(name)).__name__
    return Spot(_site(model, name, name, kind, position, placement, has_attention), f"{name}_se")


def _matcher(one: One) -> Callable[[Any], bool]:
    if isinstance(one, str):
        return lambda name: fnmatchcase(name, one)
    if isinstance(one, type):
        return lambda layer: isinstance(layer, one)
    if not callable(one):
        raise ExciteError(f"where takes no {type(one).__name__}", hint=HOW_TO_NAME, exit_code=BAD_USAGE)
    return one


def _site(
    model: keras.Model, path: str, block: str, kind: str, position: str, placement: str, has_attention: bool
) -> Site:
    layer = model.get_layer(path)
    tensors = layer.output if position == "after" else layer.input
    tensor = tensors[0] if isinstance(tensors, list | tuple) else tensors
    axis = 3 if data_format_of(model) == "channels_last" else 1
    channels = tensor.shape[axis] or 0 if len(tensor.shape) == 4 else 0
    return Site(path, block, kind, position, channels, None, placement, has_attention)


def functional_form(model: keras.Model) -> keras.Model:
    """Raises: ExciteError for a model whose layers are called from code of its own."""
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not isinstance(model, keras.Model) or not hasattr(model, "_run_through_graph"):
        what = f"{type(model).__name__} is no functional model: its layers are called in code of its own"
        raise ExciteError(
            what, where="insert", hint="put SqueezeExcitation into that code", exit_code=BAD_USAGE
        )
    return model


def data_format_of(model: keras.Model) -> str:
    """What the model's convolutions say; Keras's setting where there is none."""
    said = (getattr(layer, "data_format", None) for layer in model.layers)
    return next((each for each in said if each), None) or keras.config.image_data_format()
