"""Finds the sites for attention in a functional Keras model, and names the new layers."""

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
from excite.keras.stages import on_stages, stage_of

Selector = str | type[keras.Layer] | Callable[[keras.Layer], bool]
Selectors = Selector | Sequence[Selector]

SELECT_HINT = "select layers with where=: a name such as 'conv4_block*', a class, or a function of the layer"


def sites(
    model: keras.Model,
    *,
    where: Selectors | None = None,
    stages: int | Sequence[int] | None = None,
    placement: str = "standard",
) -> SiteTable:
    """Lists the sites for attention in a functional model.

    Args:
        where: a name pattern such as ``conv4_block*``, a layer class, a function of the layer, or a sequence
            of these; by default all known blocks. A pattern that matches blocks selects their sites;
            otherwise attention goes after each matching layer (before it with ``placement="pre"``).
        stages: only these levels of resolution, numbered as in ``Site.stage``: a ResNet has 2 to 5.
        placement: ``standard``, ``pre``, ``post``, ``identity``, or ``inner``.

    Raises:
        ExciteError: for a model without known blocks if ``where`` is None, a ``where`` without a match, an
            unknown placement, or one that a block does not have, and a stage without sites.

    Example:
        >>> x = images = keras.Input((8, 8, 3))
        >>> x = keras.layers.Conv2D(4, 3, name="first")(x)
        >>> [(site.path, site.channels) for site in sites(keras.Model(images, x), where="first")]
        [('first', 4)]
    """
    return SiteTable(spot.site for spot in find_spots(functional_form(model), where, placement, stages))


@dataclass(frozen=True)
class Spot:
    """A site with the name of the attention layer."""

    site: Site
    name: str


def find_spots(
    model: keras.Model,
    where: Selectors | None,
    placement: str,
    stages: int | Sequence[int] | None = None,
) -> list[Spot]:
    """The places for attention in a Keras model.

    Args:
        where: as in ``excite.keras.insert``; None: the blocks of a known family.
        placement: position of the attention in each block.
        stages: only blocks of these stages; None: of all.

    Raises:
        ExciteError: for an unknown placement, a model without known blocks, or ``where`` without a match.
    """
    if placement not in PLACEMENTS:
        raise unknown_name("placement", placement, PLACEMENTS)
    known = _family_spots(model, placement)
    if where is None:
        if not known:
            what = f"{model.name} contains no known block"
            raise ExciteError(what, where="sites", hint=SELECT_HINT, exit_code=BAD_USAGE)
        chosen = known
    else:
        selectors = list(where) if isinstance(where, Sequence) and not isinstance(where, str) else [where]
        by_name = {
            spot.name: spot for selector in selectors for spot in _select(model, known, selector, placement)
        }
        order = {layer.name: number for number, layer in enumerate(model.layers)}
        chosen = sorted(by_name.values(), key=lambda spot: order.get(spot.site.path, 0))
    for spot in chosen:
        if not spot.site.position:
            what = f"{spot.site.kind} does not support placement {placement!r}"
            hint = f"choose from {', '.join(FAMILIES[spot.site.kind].places)}; or {SELECT_HINT}"
            raise ExciteError(what, where=spot.site.block, hint=hint, exit_code=BAD_USAGE)
    kept = on_stages([spot.site for spot in chosen], stages)
    return [spot for spot in chosen if spot.site in kept]


def _family_spots(model: keras.Model, placement: str) -> list[Spot]:
    """One spot per known block; its position is empty if the block has no such place."""
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


def _select(model: keras.Model, known: Iterable[Spot], selector: Selector, placement: str) -> list[Spot]:
    matches = _matcher(selector)
    if isinstance(selector, str):
        blocks = [spot for spot in known if matches(spot.site.block) or matches(spot.site.path)]
    else:
        blocks = [spot for spot in known if spot.site.position and matches(model.get_layer(spot.site.path))]
    if blocks:
        return blocks
    layers = [layer for layer in model.layers if matches(layer.name if isinstance(selector, str) else layer)]
    if not layers:
        near = difflib.get_close_matches(
            str(selector), [layer.name for layer in model.layers], n=1, cutoff=0.3
        )
        hint = f"did you mean {near[0]!r}?" if near else SELECT_HINT
        shown = selector if isinstance(selector, str) else getattr(selector, "__name__", selector)
        what = f"no layer matches {shown!r}"
        raise ExciteError(what, where="where", hint=hint, exit_code=BAD_USAGE)
    position = {"standard": "after", "pre": "before"}.get(placement)
    if position is None:
        what = f"placement {placement!r} needs a known block, and {layers[0].name!r} is a layer"
        raise ExciteError(what, where="where", exit_code=BAD_USAGE)
    names = {layer.name for layer in model.layers}
    return [
        _layer_spot(model, layer.name, position, placement, f"{layer.name}_se" in names) for layer in layers
    ]


def _layer_spot(model: keras.Model, name: str, position: str, placement: str, has_attention: bool) -> Spot:
    kind = type(model.get_layer(name)).__name__
    return Spot(_site(model, name, name, kind, position, placement, has_attention), f"{name}_se")


def _matcher(selector: Selector) -> Callable[[Any], bool]:
    if isinstance(selector, str):
        return lambda name: fnmatchcase(name, selector)
    if isinstance(selector, type):
        return lambda layer: isinstance(layer, selector)
    if not callable(selector):
        what = f"where does not accept {type(selector).__name__}"
        raise ExciteError(what, hint=SELECT_HINT, exit_code=BAD_USAGE)
    return selector


def _site(
    model: keras.Model, path: str, block: str, kind: str, position: str, placement: str, has_attention: bool
) -> Site:
    layer = model.get_layer(path)
    tensors = layer.output if position == "after" else layer.input
    tensor = tensors[0] if isinstance(tensors, list | tuple) else tensors
    axis = 3 if data_format_of(model) == "channels_last" else 1
    channels = tensor.shape[axis] or 0 if len(tensor.shape) == 4 else 0
    height = 1 if axis == 3 else 2
    side = tensor.shape[height] if len(tensor.shape) == 4 else None
    stage = stage_of(model, path, side, height)
    return Site(path, block, kind, position, channels, stage, placement, has_attention)


def functional_form(model: keras.Model) -> keras.Model:
    """The model as a functional model.

    Raises:
        ExciteError: for a subclassed model, whose layers are called in its own code.
    """
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not isinstance(model, keras.Model) or not hasattr(model, "_run_through_graph"):
        what = f"{type(model).__name__} is not a functional model: its own code calls its layers"
        raise ExciteError(
            what, where="insert", hint="add SqueezeExcitation in that code", exit_code=BAD_USAGE
        )
    return model


def data_format_of(model: keras.Model) -> str:
    """The data format of the model's layers, or Keras's setting if no layer has one."""
    formats = (getattr(layer, "data_format", None) for layer in model.layers)
    default: str = keras.config.image_data_format()
    return next(filter(None, formats), default)
