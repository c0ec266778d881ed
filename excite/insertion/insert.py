"""Put attention into a network and take it out again; the caller's model is left untouched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from excite.attention import registry
from excite.attention.random_start import random_start
from excite.errors import BAD_USAGE, ExciteError
from excite.insertion.attach import CHILD, RECORD, WithAttention, attach, detach, require_unchanged_class
from excite.insertion.checks import check_attention, check_sites, refuse_transformed, require_module
from excite.insertion.copying import deep_copy
from excite.insertion.site import Site, SiteTable
from excite.insertion.sites import Selector, sites


@dataclass(frozen=True)
class Insertion:
    """What inserted attention remembers: its site, its name and its options."""

    site: Site
    attention: str
    options: Mapping[str, Any]


def insert(
    model: nn.Module,
    attention: str = "se",
    *,
    where: Selector | Sequence[Selector] | None = None,
    stages: int | Sequence[int] | None = None,
    placement: str = "standard",
    reduction: int | None = None,
    identity: bool = False,
    **options: Any,
) -> nn.Module:
    """A copy of the model with attention in it; every name and value that it had stays.

    The new parameters are ``<site>.attention.*``, on the device and in the dtype of their neighbors. Their
    random start does not move the caller's random numbers: the next draw is the same with and without.
    A hook on a site's module sees what attention makes of its output.

    Args:
        attention: a name in ``excite.attention.registry``.
        where: which modules, as for ``excite.sites``.
        stages: levels of resolution, as for ``excite.sites``.
        strategy: ``standard``, ``pre``, ``post``, ``identity`` (on the shortcut) or ``inner``.
        reduction: of the attention; by default its own, 16 for SE.
        identity: every gate starts at exactly one, so that the logits are those of the model, bit for bit. It
            departs from the paper, whose gates start near one half and so halve a trained network's channels.
        options: further options of the attention.

    Raises:
        ExciteError: for an unknown attention, option, strategy or stage; a site that has attention already or
            that has no channels; a reduction above the channels; attention that cannot start as the identity;
            a model that was traced, compiled, wrapped for many processes or quantized.
    """
    require_module(model)
    refuse_transformed(model)
    settings = {**options, **({} if reduction is None else {"reduction": reduction})}
    if identity:
        settings["identity"] = True
    check_attention(attention, settings)
    table = sites(model, where=where, stages=stages, placement=placement)
    check_sites(model, table, attention, settings)
    changed = deep_copy(model)
    neighbors = _neighbors(changed)
    with random_start():
        for site in table:
            with torch.device("cpu"):
                module = registry.create_attention(attention, site.channels, **settings)
            like = neighbors.get(site.path, neighbors.get(site.block))
            if like is not None:
                module = module.to(like.device, like.dtype)
            record = Insertion(replace(site, has_attention=True), attention, dict(settings))
            setattr(module, RECORD, record)
            attach(changed, site.path, module, site.position)
    return changed


def remove(model: nn.Module) -> nn.Module:
    """A copy of the model without the attention that ``insert`` put in: the original, in names and classes.

    Raises:
        ExciteError: if there is none; attention that an architecture was built with stays. Also if a
            module's class was changed after insertion, other than by a parametrization, which stays.
    """
    require_module(model)
    table = inserted_sites(model)
    if not table:
        hint = "attention that a model was built with is left out when it is built"
        raise ExciteError("nothing was inserted into this model", hint=hint, exit_code=BAD_USAGE)
    for site in table:  # a copy would have no other class to refuse
        require_unchanged_class(model.get_submodule(site.path), site.path)
    changed = deep_copy(model)
    for site in table:
        detach(changed, site.path)
    return changed


def inserted_sites(model: nn.Module) -> SiteTable:
    """The sites where inserted attention sits, in the order of the model; empty where there are none.

    Raises:
        ExciteError: if a module that carried attention was replaced by one that does not call it.
    """
    return SiteTable(record.site for record in _records(model))


def insertions(model: nn.Module) -> list[dict[str, Any]]:
    """What was inserted, as JSON: one set of arguments for each ``insert`` that makes the same model again.

    rebuilt = plain
    for arguments in insertions(model):
        rebuilt = insert(rebuilt, **arguments)
    """
    found: list[dict[str, Any]] = []
    for record in _records(model):
        arguments = {"attention": record.attention, "strategy": record.site.placement, **record.options}
        for one in found:
            if {name: value for name, value in one.items() if name != "where"} == arguments:
                one["where"].append(record.site.path)
                break
        else:
            found.append({**arguments, "where": [record.site.path]})
    return found


def convert(model: nn.Module, function: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Runs a function that puts other modules in place of a model's, and keeps inserted attention.

    Conversions such as ``torch.nn.SyncBatchNorm.convert_sync_batchnorm`` rebuild every batch norm, and so
    lose what an attended one does beside normalizing. Here attention is lifted off, and put back on the
    result. Works in place where the function does.
    """
    held = [(record.site, detach(model, record.site.path)) for record in _records(model)]
    changed = model
    try:
        changed = function(model)
    finally:
        for site, attention in held:
            attach(changed, site.path, attention, site.position)
    return changed


def _records(model: nn.Module) -> list[Insertion]:
    modules = dict(model.named_modules())
    found = []
    for path, module in modules.items():
        record: Insertion | None = getattr(module, RECORD, None)
        if record is None:
            continue
        above = path.removesuffix(CHILD).removesuffix(".")
        host = modules[above]
        if not isinstance(host, WithAttention):
            raise ExciteError(
                f"the attention here is never called, since {type(host).__name__} took its module's place",
                where=above,
                hint="run such a conversion before insert, or through excite.insertion.insert.convert",
            )
        found.append(replace(record, site=replace(record.site, path=above)))
    return found


def _neighbors(model: nn.Module) -> dict[str, Tensor]:
    """For each module a floating-point tensor to be like: its own first, else the last one before it."""
    found: dict[str, Tensor] = {}
    last: Tensor | None = next((p for p in model.parameters() if p.is_floating_point()), None)
    for path, module in model.named_modules():
        tensors = chain(module.parameters(), module.buffers())
        own = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
        if own is not None:
            last = own
        if last is not None:
            found[path] = last
    return found
