"""Modules with attention: the same object, turned into an instance of a subclass of its class.

A wrapper would rename the module's parameters, and a hook is lost in a traced graph. So a module that
receives attention stays where it is and becomes an instance of a subclass whose forward runs the plain
forward and the attention. Every name, value, buffer, mode, and hook stays; the new parameters are
``<module>.attention.*``.
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

CHILD = "attention"  # name of the attention module inside its host
RECORD = "insertion"  # attribute of the attention module that records its site and options

# To the type checker, WithAttention is a module; at run time the plain class follows it in the MRO.
if TYPE_CHECKING:
    _Module = nn.Module
else:
    _Module = object

_CLASSES: dict[tuple[type[nn.Module], str], type[Any]] = {}


class WithAttention(_Module):
    """Base of every class with attention: the plain class, the position, and the attention module."""

    plain: ClassVar[type[nn.Module]]
    position: ClassVar[str]
    attention: nn.Module

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # The class is created at run time, so pickles and deep copies refer to the class that it extends.
        return _empty_instance, (type(self).plain, type(self).position), self.__getstate__()  # type: ignore[no-untyped-call]


class After(WithAttention):
    """Attention on the output, channels first: (N, C, H, W)."""

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        return _apply_attention(self.attention, super().forward(*inputs, **options))


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
        return _apply_attention(self.attention, out.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Before(WithAttention):
    """Attention on the first input: (N, C, H, W)."""

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        if inputs:
            return super().forward(_apply_attention(self.attention, inputs[0]), *inputs[1:], **options)
        names = inspect.signature(self.plain.forward).parameters
        first = next(name for name in names if name in options)
        return super().forward(**{**options, first: _apply_attention(self.attention, options[first])})


class Shortcut(nn.Identity):
    """Replaces the None that a block has for a shortcut without layers, and hosts the attention."""


POSITIONS: Mapping[str, type[WithAttention]] = {
    "after": After,
    "after, channels last": AfterLast,
    "before": Before,
    "on the shortcut": After,
}


def attach(model: nn.Module, path: str, attention: nn.Module, position: str) -> None:
    """Attach attention to the module at ``path``, in place; the module has none yet.

    Args:
        position: a key of ``POSITIONS``.
    """
    parent, name = _parent(model, path)
    if position == "on the shortcut":
        setattr(parent, name, Shortcut().train(parent.training))
    host = getattr(parent, name)
    if is_parametrized(host):
        # PyTorch removes the class of a parametrized module as if it were the topmost one.
        host.__class__ = _rebase(
            type(host), type(host).__base__, lambda plain: _class_with_attention(plain, position)
        )
    else:
        host.__class__ = _class_with_attention(type(host), position)
    host.attention = attention.train(host.training)


def detach(model: nn.Module, path: str) -> nn.Module:
    """Detach the attention from the module at ``path``, in place, and return it."""
    parent, name = _parent(model, path)
    host = getattr(parent, name)
    require_unchanged_class(host, path)
    attended = _class_with_attention(host.plain, host.position)
    attention: nn.Module = host.attention
    del host.attention
    host.__class__ = _rebase(type(host), attended, lambda cls: cls.plain)
    if isinstance(host, Shortcut):
        delattr(parent, name)
        setattr(parent, name, None)
    return attention


def require_unchanged_class(host: Any, path: str) -> None:
    """Refuse to detach from a module whose class was changed by anything but attention or a parametrization.

    Raises:
        ExciteError: for a module whose class was changed after ``attach``.
    """
    if type(host) is not _class_with_attention(host.plain, host.position) and not is_parametrized(host):
        what = f"the class was changed to {type(host).__name__} after attention was inserted"
        raise ExciteError(what, where=path, hint="revert that change first, or make it after remove()")


def _parent(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    parent, _, name = path.rpartition(".")
    return model.get_submodule(parent), name


def _class_with_attention(plain: type[nn.Module], position: str) -> type[Any]:
    """The subclass of ``plain`` with attention at this position, created once.

    It belongs to the module of its plain class, so that torch.fx traces into it exactly if it would trace
    into the plain class. A layer of torch.nn stays one node of a graph, with its attention inside: batch norm
    in training mode cannot be traced through.
    """
    if (plain, position) in _CLASSES:
        return _CLASSES[plain, position]
    namespace = {
        "plain": plain,
        "position": position,
        "__module__": plain.__module__,
        "__doc__": plain.__doc__,
    }
    base = POSITIONS[position]
    if base is After and plain is nn.BatchNorm2d:
        base = AfterNorm
    attended = type(f"{plain.__name__}WithAttention", (base, plain), namespace)
    return _CLASSES.setdefault((plain, position), attended)


def _rebase(
    cls: type[Any], base: type[Any] | None, replacement: Callable[[type[Any]], type[Any]]
) -> type[Any]:
    """``cls`` with ``replacement(base)`` in place of ``base``, which is ``cls`` or one of its ancestors.

    A parametrized module has a class of its own, with a property for each parametrized tensor.
    """
    if cls is base:
        return replacement(cls)
    namespace = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    bases = tuple(
        _rebase(parent, base, replacement) if base in parent.__mro__ else parent for parent in cls.__bases__
    )
    return type(f"Parametrized{bases[0].__name__}", bases, namespace)


def _empty_instance(plain: type[nn.Module], position: str) -> nn.Module:
    return cast(nn.Module, object.__new__(_class_with_attention(plain, position)))


def _apply_attention(attention: nn.Module, x: Tensor) -> Tensor:
    if isinstance(x, Proxy):
        # One node, as for a layer of torch.nn: attention may read dtypes, which a proxy does not have.
        node = x.tracer.create_proxy("call_module", x.tracer.path_of_module(attention), (x,), {})
        return cast(Tensor, node)
    return cast(Tensor, attention(x))
