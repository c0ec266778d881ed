"""Looks at one model: which sites it has by the table of families, and what a module's site would be."""

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
# A path says its stage before any shape does: dilated nets do not shrink where others do.
STAGE_NAMES = (
    (re.compile(r"(?:^|\.)(?:layer|denseblock|transition|trunk_output\.block)(\d+)(?:\.|$)"), 1),
    (re.compile(r"^s(\d)\."), 1),
    (re.compile(r"(?:^|\.)stages\.(\d+)\."), 2),
    (re.compile(r"(?:^|\.)stage(\d+)\."), 0),
)


class SiteFinder:
    """One look at a model; its shapes are found when they are first asked for."""

    def __init__(self, model: nn.Module, placement: str) -> None:
        self.model, self.placement = model, placement
        inserted = [
            f"{path}.{CHILD}" for path, module in model.named_modules() if isinstance(module, WithAttention)
        ]
        inside = tuple(f"{path}." for path in inserted)
        # What is inside inserted attention is no place for more.
        self.modules = {
            path: module
            for path, module in model.named_modules()
            if path not in inserted and not path.startswith(inside)
        }

    @cached_property
    def shapes(self) -> Trace:
        return trace_shapes(self.model)

    def family_sites(self) -> list[Site]:
        """Sites by the table, in the order of the model; a block without such a place has way ''."""
        found = []
        for path, block in self.modules.items():
            family = family_of(block)
            if family is None:
                continue
            native = self._has_native(path)
            spots = places(block, family, self.placement)
            if not spots:
                kind = _kind(block)
                found.append(Site(path, path, kind, "", 0, None, self.placement, native))
            found += [self._place(path, block, spot, native) for spot in spots]
        return found

    def undecorated_site(self, path: str) -> Site:
        """After the output of a module that no family speaks of; before its input with ``pre``."""
        module = self.modules[path]
        position = {"standard": "after", "pre": "before"}.get(self.placement, "")
        host, name = _descend(module, path, position)
        width, taken = self._width(host, name, position), isinstance(host, WithAttention)
        return self._site(name, path, module, position, width, taken)

    def _place(self, path: str, block: nn.Module, spot: Place, native: bool) -> Site:
        name = _absolute(block, path, spot.module)
        position = spot.position
        host = submodule(self.model, name)
        if position == "on the shortcut" and (host is not None):
            position = "after"
        if host is None and position != "on the shortcut":
            what = f"{type(block).__name__} has no {spot.module!r} here, which its kind of block has"
            raise ExciteError(what, where=path or "model", hint=HOW_TO_NAME)
        if host is not None:
            host, name = _descend(host, name, position)
        if spot.width:
            width = submodule(self.model, _absolute(block, path, spot.width))
            channels = 0 if width is None else _declared(width, "after")
        else:
            channels = self._width(host, name, position)
        taken = native or isinstance(host, WithAttention)
        return self._site(name, path, block, position, channels, taken)

    def _site(
        self,
        name: str,
        path: str,
        block: nn.Module,
        position: str,
        channels: int,
        taken: bool,
    ) -> Site:
        return Site(name, path, _kind(block), position, channels, self._stage(name), self.placement, taken)

    def _width(self, host: nn.Module | None, name: str, position: str) -> int:
        """Channels by the layer's own word, else by its shape."""
        if host is None:
            return 0
        if declared := _declared(host, position):
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
    """The module called ``path``, or None where there is none, or None stands."""
    above, _, name = path.rpartition(".")
    try:
        found = getattr(model.get_submodule(above), name) if name else model
    except AttributeError:
        return None
    return found if isinstance(found, nn.Module) else None


def _absolute(block: nn.Module, path: str, name: str) -> str:
    """A place's path in the model; negative numbers count a Sequential's layers from its end."""
    names = path.split(".") if path else []
    here: nn.Module | None = block
    for part in name.split(".") if name else []:
        children = list(dict(here.named_children())) if here is not None else []
        counted = part.startswith("-") and len(children) >= -int(part)
        names.append(children[int(part)] if counted else part)
        here = None if here is None else getattr(here, names[-1], None)
    return ".".join(names)


def _descend(module: nn.Module, path: str, position: str) -> tuple[nn.Module, str]:
    """Into a Sequential's last layer (its first with ``before``): it would run attention as a layer more."""
    while isinstance(module, nn.Sequential) and len(module) and type(module).forward is nn.Sequential.forward:
        children = list(module.named_children())
        name, module = children[0 if position == "before" else -1]
        path = f"{path}.{name}"
    return module, path


def _declared(module: nn.Module, position: str) -> int:
    """The channels that a layer says it has; 0 where it does not say."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return module.in_channels if position == "before" else module.out_channels
    if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm | nn.InstanceNorm2d):
        return module.num_features
    return module.num_channels if isinstance(module, nn.GroupNorm) else 0
