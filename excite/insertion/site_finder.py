"""The sites of one model: those of its known blocks, and the site of any single module."""

from __future__ import annotations

import re
from functools import cached_property

from torch import nn

from excite.errors import ExciteError
from excite.insertion.attach import CHILD, WithAttention
from excite.insertion.families import Place, family_of, full_name, is_attention, places
from excite.insertion.shapes import Trace, stage_of, trace_shapes
from excite.insertion.site import Site

HOW_TO_NAME = (
    "name modules with where=: a path such as 'layer3.*.conv2', a class, or a function of path and module"
)
# The path takes precedence over shapes: dilated networks do not shrink where others do.
STAGE_NAMES = (
    (re.compile(r"(?:^|\.)(?:layer|denseblock|transition|trunk_output\.block)(\d+)(?:\.|$)"), 1),
    (re.compile(r"^s(\d)\."), 1),
    (re.compile(r"(?:^|\.)stages\.(\d+)\."), 2),
    (re.compile(r"(?:^|\.)stage(\d+)\."), 0),
)


class SiteFinder:
    """Finds sites in a model; the model runs once, when a shape is needed for the first time."""

    def __init__(self, model: nn.Module, placement: str) -> None:
        self.model, self.placement = model, placement
        inserted = [
            f"{path}.{CHILD}" for path, module in model.named_modules() if isinstance(module, WithAttention)
        ]
        inside = tuple(f"{path}." for path in inserted)
        # Modules inside inserted attention are no sites.
        self.modules = {
            path: module
            for path, module in model.named_modules()
            if path not in inserted and not path.startswith(inside)
        }

    @cached_property
    def shapes(self) -> Trace:
        return trace_shapes(self.model)

    def family_sites(self) -> list[Site]:
        """The sites of known blocks in the order of the model.

        A block whose family lacks the placement gives one site with position "".
        """
        sites = []
        for path, block in self.modules.items():
            family = family_of(block)
            if family is None:
                continue
            native = self._has_native(path)
            spots = places(block, family, self.placement)
            if not spots:
                kind = _kind(block)
                sites.append(Site(path, path, kind, "", 0, None, self.placement, native))
            sites += [self._family_site(path, block, spot, native) for spot in spots]
        return sites

    def module_site(self, path: str) -> Site:
        """The site of a module without a family: after its output, or before its input with ``pre``."""
        module = self.modules[path]
        position = {"standard": "after", "pre": "before"}.get(self.placement, "")
        host, name = _descend(module, path, position)
        channels = self._channels(host, name, position)
        return self._site(name, path, module, position, channels, isinstance(host, WithAttention))

    def _family_site(self, path: str, block: nn.Module, spot: Place, native: bool) -> Site:
        name = _absolute(block, path, spot.module)
        position = spot.position
        host = submodule(self.model, name)
        if host is not None:
            position = "after" if position == "on the shortcut" else position
            host, name = _descend(host, name, position)
        elif position != "on the shortcut":
            what = f"{type(block).__name__} has no module {spot.module!r}, unlike other blocks of its family"
            raise ExciteError(what, where=path or "model", hint=HOW_TO_NAME)
        if spot.width:
            layer = submodule(self.model, _absolute(block, path, spot.width))
            channels = 0 if layer is None else _declared_channels(layer, "after")
        else:
            channels = self._channels(host, name, position)
        has_attention = native or isinstance(host, WithAttention)
        return self._site(name, path, block, position, channels, has_attention)

    def _site(
        self, name: str, path: str, block: nn.Module, position: str, channels: int, has_attention: bool
    ) -> Site:
        stage = self._stage(name)
        return Site(name, path, _kind(block), position, channels, stage, self.placement, has_attention)

    def _channels(self, host: nn.Module | None, name: str, position: str) -> int:
        """The channels that the layer declares, else those of its shape."""
        if host is None:
            return 0
        if declared := _declared_channels(host, position):
            return declared
        shapes = self.shapes.inputs if position == "before" else self.shapes.outputs
        shape = shapes.get(name, ())
        return shape[1] if len(shape) == 4 else 0

    def _stage(self, path: str) -> int | None:
        for pattern, offset in STAGE_NAMES:
            if match := pattern.search(path):
                return int(match[1]) + offset
        outputs = self.shapes.outputs
        return stage_of(outputs.get(path) or outputs.get(path.rpartition(".")[0], ()), self.shapes)

    def _has_native(self, path: str) -> bool:
        prefix = f"{path}." if path else ""
        return any(is_attention(module) for name, module in self.modules.items() if name.startswith(prefix))


def _kind(module: nn.Module) -> str:
    return full_name(module.plain if isinstance(module, WithAttention) else type(module))


def submodule(model: nn.Module, path: str) -> nn.Module | None:
    """The module at ``path``, or None if there is none."""
    parent, _, name = path.rpartition(".")
    try:
        module = getattr(model.get_submodule(parent), name) if name else model
    except AttributeError:
        return None
    return module if isinstance(module, nn.Module) else None


def _absolute(block: nn.Module, path: str, name: str) -> str:
    """The path of a block's module in the model; -1 in ``name`` is the last layer of a Sequential."""
    names = path.split(".") if path else []
    module: nn.Module | None = block
    for part in name.split(".") if name else []:
        children = list(dict(module.named_children())) if module is not None else []
        from_end = part.startswith("-") and len(children) >= -int(part)
        names.append(children[int(part)] if from_end else part)
        module = None if module is None else getattr(module, names[-1], None)
    return ".".join(names)


def _descend(module: nn.Module, path: str, position: str) -> tuple[nn.Module, str]:
    """The last layer of a Sequential (the first for ``before``), since a Sequential cannot host attention."""
    while isinstance(module, nn.Sequential) and len(module) and type(module).forward is nn.Sequential.forward:
        children = list(module.named_children())
        name, module = children[0 if position == "before" else -1]
        path = f"{path}.{name}"
    return module, path


def _declared_channels(module: nn.Module, position: str) -> int:
    """The channels in the attributes of a convolution or norm; 0 for other layers."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return module.in_channels if position == "before" else module.out_channels
    if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm | nn.InstanceNorm2d):
        return module.num_features
    return module.num_channels if isinstance(module, nn.GroupNorm) else 0
