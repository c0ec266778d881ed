"""A module that attends: the same object, of a subclass of its class, with attention beside its parameters.

Wrapping a module would rename its parameters, and a hook is lost in a traced graph. So a module that gets
attention stays where it is and becomes an instance of a subclass, which calls the plain forward and then the
attention. Every name, value, buffer, mode and hook stays; the new parameters are ``<module>.attention.*``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.utils.parametrize import is_parametrized

from excite.errors import ExciteError
from excite.kernels.norm_gate import can_fuse_attention, norm_gate

CHILD = "attention"
RECORD = "insertion"  # what the attention remembers of how it came here

# To the type checker an attended module is a module; at run time its plain class comes after this one.
if TYPE_CHECKING:
    _Module = nn.Module
else:
    _Module = object

_CLASSES: dict[tuple[type[nn.Module], str], type[Any]] = {}


class WithAttention(_Module):
    """What an attended module has beside its own class: the class that it was made from."""

    plain: ClassVar[type[nn.Module]]
    position: ClassVar[str]
    attention: nn.Module

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # The class is made at run time, so pickles and deep copies name what it is made from.
        return _blank, (type(self).plain, type(self).position), self.__getstate__()


class After(WithAttention):
    """Attention on the output, channels first: (N, C, H, W)."""

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        return _gated(self.attention, super().forward(*inputs, **options))


class AfterNorm(After):
    """Attention after ``nn.BatchNorm2d``: its sums give the squeeze, and one pass writes the output."""

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        x = inputs[0] if inputs else options.get("input")
        fused = None
        if x is not None and can_fuse_attention(self.attention):
            fused = norm_gate(x, cast(nn.BatchNorm2d, self), self.attention)
        return super().forward(*inputs, **options) if fused is None else fused


class AfterLast(WithAttention):
    """Attention on the output, channels last: (N, H, W, C)."""

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        out = super().forward(*inputs, **options)
        return _gated(self.attention, out.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Before(WithAttention):
    """Attention on the first input: (N, C, H, W)."""

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        if inputs:
            return super().forward(_gated(self.attention, inputs[0]), *inputs[1:], **options)
        names = inspect.signature(self.plain.forward).parameters
        first = next(name for name in names if name in options)
        return super().forward(**{**options, first: _gated(self.attention, options[first])})


class Shortcut(nn.Identity):
    """Stands where a block has None for a bare shortcut, and carries the attention."""


POSITIONS: Mapping[str, type[WithAttention]] = {
    "after": After,
    "after, channels last": AfterLast,
    "before": Before,
    "on the shortcut": After,
}


def attach(model: nn.Module, path: str, attention: nn.Module, position: str) -> None:
    """Puts attention at the module called ``path``, in place; there is none at it yet."""
    parent, name = _parent(model, path)
    if position == "on the shortcut":
        setattr(parent, name, Shortcut().train(parent.training))
    host = getattr(parent, name)
    if is_parametrized(host):
        # PyTorch takes its class off again as if it were the topmost one.
        host.__class__ = _above(
            type(host), type(host).__base__, lambda below: _class_with_attention(below, position)
        )
    else:
        host.__class__ = _class_with_attention(type(host), position)
    host.attention = attention.train(host.training)


def detach(model: nn.Module, path: str) -> nn.Module:
    """Takes the attention at the module called ``path`` out again, in place, and returns it."""
    parent, name = _parent(model, path)
    host = getattr(parent, name)
    require_unchanged_class(host, path)
    made = _class_with_attention(host.plain, host.position)
    attention: nn.Module = host.attention
    del host.attention
    host.__class__ = _above(type(host), made, lambda below: below.plain)
    if isinstance(host, Shortcut):
        delattr(parent, name)
        setattr(parent, name, None)
    return attention


def require_unchanged_class(host: Any, path: str) -> None:
    """That nothing but attention and parametrizations changed the class, since no more is taken apart."""
    if type(host) is not _class_with_attention(host.plain, host.position) and not is_parametrized(host):
        what = f"its class was changed to {type(host).__name__} after attention was put here"
        raise ExciteError(what, where=path, hint="undo that first, or do it after removing attention")


def _parent(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    above, _, name = path.rpartition(".")
    return model.get_submodule(above), name


def _class_with_attention(plain: type[nn.Module], position: str) -> type[Any]:
    """The subclass; in its plain class's module, so that torch.fx goes into it exactly if it went in before.

    A layer of torch.nn stays one node of a graph, and its attention is inside of it: batch norm in training
    cannot be traced through.
    """
    if (plain, position) in _CLASSES:
        return _CLASSES[plain, position]
    space = {"plain": plain, "position": position, "__module__": plain.__module__, "__doc__": plain.__doc__}
    kind = AfterNorm if POSITIONS[position] is After and plain is nn.BatchNorm2d else POSITIONS[position]
    made = type(f"Attended{plain.__name__}", (kind, plain), space)
    return _CLASSES.setdefault((plain, position), made)


def _above(kind: type[Any], base: type[Any] | None, instead: Callable[[type[Any]], type[Any]]) -> type[Any]:
    """The class with another one in place of ``base``, which it is or comes from.

    A parametrized module has a class of its own, with a property for each parametrized tensor.
    """
    if kind is base:
        return instead(kind)
    space = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    below = tuple(_above(one, base, instead) if base in one.__mro__ else one for one in kind.__bases__)
    return type(f"Parametrized{below[0].__name__}", below, space)


def _blank(plain: type[nn.Module], position: str) -> nn.Module:
    return object.__new__(_class_with_attention(plain, position))


def _gated(attention: nn.Module, x: Tensor) -> Tensor:
    if isinstance(x, Proxy):
        # One node, as for a layer of torch.nn: attention may look at dtypes, which a proxy does not have.
        return x.tracer.create_proxy("call_module", x.tracer.path_of_module(attention), (x,), {})
    return attention(x)
