"""Insert attention into a network and remove it again; the caller's model does not change."""

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
from excite.insertion.checks import check_reduction, check_sites, refuse_transformed, require_module
from excite.insertion.copying import deep_copy
from excite.insertion.site import Site, SiteTable
from excite.insertion.sites import Selector, find_sites


@dataclass(frozen=True)
class Insertion:
    """The record that inserted attention carries: its site, its name, and its options."""

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
    """A copy of the model with attention added; the model's own parameters keep their names and values.

    The new parameters are ``<site>.attention.*``, on the device and in the dtype of their neighbors.
    Inserting does not advance PyTorch's random number generator. A hook on a site's module receives the
    output after attention. A site's module becomes an instance of a subclass of its class (``attach.py``), so
    ``isinstance(module, nn.BatchNorm2d)`` still holds there, and ``type(module) is nn.BatchNorm2d`` does not.

    Args:
        attention: a name in ``excite.attention.registry``.
        where: the modules, as in ``excite.sites``.
        stages: levels of resolution, as in ``excite.sites``.
        placement: ``standard``, ``pre``, ``post``, ``identity`` (on the shortcut; not the option below), or
            ``inner``; see table 14 of Hu et al. 2018, https://arxiv.org/abs/1709.01507.
        reduction: ratio r of channels to hidden units; by default the attention's own, 16 for SE.
        identity: start with every gate at exactly one, so that the logits equal those of the model, bit for
            bit. The gates of the paper start near one half, which halves the channels of a trained network.
        options: passed to the attention's constructor.

    Raises:
        ExciteError: if the attention, an option, the placement, or a stage is unknown; if a site has
            attention already or has no channels; if the reduction exceeds the channels; if the attention
            cannot start as the identity; or if the model was traced, compiled, wrapped for parallel training,
            or quantized.

    Example:
        >>> import excite, torch
        >>> model = excite.create_model("cifar_resnet20", num_classes=10).eval()
        >>> with_se = excite.insert(model, "se", reduction=4, identity=True)
        >>> images = torch.zeros(2, 3, 32, 32)
        >>> torch.equal(with_se(images), model(images))
        True
    """
    require_module(model)
    refuse_transformed(model)
    settings = {**options, **({} if reduction is None else {"reduction": reduction})}
    if identity:
        settings["identity"] = True
    table, finder = find_sites(model, where=where, stages=stages, placement=placement)
    check_sites(table, finder)
    modules = _create(attention, table, settings)
    check_reduction(table, attention, settings)
    copy = deep_copy(model)
    neighbors = _neighbors(copy)
    for site, module in zip(table, modules, strict=True):
        neighbor = neighbors.get(site.path, neighbors.get(site.block))
        if neighbor is not None:
            module.to(neighbor.device, neighbor.dtype)
        setattr(module, RECORD, Insertion(replace(site, has_attention=True), attention, dict(settings)))
        attach(copy, site.path, module, site.position)
    return copy


def _create(attention: str, table: SiteTable, options: Mapping[str, Any]) -> list[nn.Module]:
    """One attention module for each site, on the CPU; the caller's random numbers stay as they are."""
    with random_start(), torch.device("cpu"):
        return [registry.create_attention(attention, site.channels, **options) for site in table]


def remove(model: nn.Module) -> nn.Module:
    """A copy of the model without inserted attention, with the original names and classes.

    Attention that is part of the architecture stays.

    Raises:
        ExciteError: if the model has no inserted attention, or if the class of a module was changed after
            ``insert`` by anything but a parametrization.

    Example:
        >>> import excite
        >>> model = excite.create_model("cifar_resnet20", num_classes=10)
        >>> list(excite.remove(excite.insert(model)).state_dict()) == list(model.state_dict())
        True
    """
    require_module(model)
    table = inserted_sites(model)
    if not table:
        hint = "to leave out attention that belongs to an architecture, build the model without it"
        raise ExciteError("this model has no inserted attention", hint=hint, exit_code=BAD_USAGE)
    for site in table:  # before copying: a copy would have the class that insert gave it, hiding the change
        require_unchanged_class(model.get_submodule(site.path), site.path)
    copy = deep_copy(model)
    for site in table:
        detach(copy, site.path)
    return copy


def inserted_sites(model: nn.Module) -> SiteTable:
    """The sites of inserted attention, in the order of the model.

    Raises:
        ExciteError: if a module with attention was replaced by one that does not call it.
    """
    return SiteTable(record.site for record in _records(model))


def insertions(model: nn.Module) -> list[dict[str, Any]]:
    """The arguments of the ``insert`` calls that rebuild the model from the plain one, as JSON values.

    Example:
        >>> import excite
        >>> model = excite.create_model("cifar_resnet20", num_classes=10)
        >>> insertions(excite.insert(model, where="layer3.0"))
        [{'attention': 'se', 'placement': 'standard', 'where': ['layer3.0.bn2']}]
    """
    calls: list[dict[str, Any]] = []
    for record in _records(model):
        arguments = {"attention": record.attention, "placement": record.site.placement, **record.options}
        for call in calls:
            if {name: value for name, value in call.items() if name != "where"} == arguments:
                call["where"].append(record.site.path)
                break
        else:
            calls.append({**arguments, "where": [record.site.path]})
    return calls


def convert(model: nn.Module, function: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Apply a function that replaces modules of the model, and keep inserted attention.

    Conversions such as ``torch.nn.SyncBatchNorm.convert_sync_batchnorm`` rebuild every batch norm and would
    drop its attention. The attention is detached before and attached to the result; in place if the function
    works in place.
    """
    detached = [(record.site, detach(model, record.site.path)) for record in _records(model)]
    converted = model
    try:
        converted = function(model)
    finally:
        for site, attention in detached:
            attach(converted, site.path, attention, site.position)
    return converted


def _records(model: nn.Module) -> list[Insertion]:
    modules = dict(model.named_modules())
    records = []
    for path, module in modules.items():
        record: Insertion | None = getattr(module, RECORD, None)
        if record is None:
            continue
        parent = path.removesuffix(CHILD).removesuffix(".")
        host = modules[parent]
        if not isinstance(host, WithAttention):
            raise ExciteError(
                f"the attention is never called, because a {type(host).__name__} replaced its module",
                where=parent,
                hint="run such a conversion before insert, or through excite.insertion.insert.convert",
            )
        records.append(replace(record, site=replace(record.site, path=parent)))
    return records


def _neighbors(model: nn.Module) -> dict[str, Tensor]:
    """For each module, a tensor whose device and dtype new parameters take: its first, or the last before."""
    neighbors: dict[str, Tensor] = {}
    last: Tensor | None = next((p for p in model.parameters() if p.is_floating_point()), None)
    for path, module in model.named_modules():
        tensors = chain(module.parameters(), module.buffers())
        own = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
        if own is not None:
            last = own
        if last is not None:
            neighbors[path] = last
    return neighbors
