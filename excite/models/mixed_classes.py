"""Classes made at run time: that of a module, with a mixin in front of it that has another ``forward``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

if TYPE_CHECKING:
    _Module = nn.Module
else:
    _Module = object

_CLASSES: dict[tuple[type[Any], type[nn.Module]], type[Any]] = {}


class Mixin(_Module):
    """Base of mixins; ``plain`` is the module's original class."""

    plain: ClassVar[type[nn.Module]]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # The class is created at run time, so pickles and deep copies refer to the two that it is made of.
        mixin = type(self).__mro__[1]
        return _blank, (mixin, type(self).plain), self.__getstate__()  # type: ignore[no-untyped-call]


def mix_in(module: nn.Module, mixin: type[Mixin]) -> None:
    """Put the mixin in front of the class of the module, in place.

    The class keeps its name, so that printed networks and tables of sites show the original one.
    """
    module.__class__ = _mixed(mixin, type(module))


def full_name(cls: type[nn.Module]) -> str:
    """The name of a class with that of its module."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _mixed(mixin: type[Any], plain: type[nn.Module]) -> type[Any]:
    if (mixin, plain) not in _CLASSES:
        space = {"plain": plain, "__module__": plain.__module__, "__doc__": plain.__doc__}
        _CLASSES[mixin, plain] = type(plain.__name__, (mixin, plain), space)
    return _CLASSES[mixin, plain]


def _blank(mixin: type[Any], plain: type[nn.Module]) -> nn.Module:
    return object.__new__(_mixed(mixin, plain))
