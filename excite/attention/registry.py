"""Attention by name: the table that ``attention="se"`` is looked up in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from torch import nn

from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.errors import BAD_USAGE, ExciteError, unknown_name

Factory = TypeVar("Factory", bound=Callable[..., nn.Module])

_FACTORIES: dict[str, Callable[..., nn.Module]] = {}


def register(name: str) -> Callable[[Factory], Factory]:
    """Decorator: from now on ``name`` makes this module, called as ``factory(channels, **options)``.

    Raises:
        ExciteError: if the name is taken.
    """

    def add(factory: Factory) -> Factory:
        if name in _FACTORIES:
            raise ExciteError(f"attention {name!r} is registered already", exit_code=BAD_USAGE)
        _FACTORIES[name] = factory
        return factory

    return add


def attention_names() -> list[str]:
    """Every registered name, sorted."""
    return sorted(_FACTORIES)


def create_attention(name: str, channels: int, **options: Any) -> nn.Module:
    """The attention module called ``name`` for (N, channels, H, W).

    Raises:
        ExciteError: for an unknown name or option, with the nearest match.
    """
    if name not in _FACTORIES:
        raise unknown_name("attention", name, _FACTORIES)
    factory = _FACTORIES[name]
    refuse_unknown_options(factory, options, except_for=("channels",), where=f"attention {name!r}")
    return factory(channels, **options)


def refuse_unknown_options(
    function: Callable[..., Any],
    options: Iterable[str],
    *,
    except_for: Iterable[str] = (),
    where: str,
) -> None:
    """Checks option names against a signature, before Python does it with a traceback.

    Args:
        except_for: parameters that are not the caller's to give.

    Raises:
        ExciteError: for the first name that the function does not take, with the nearest match.
    """
    known = set(inspect.signature(function).parameters) - set(except_for)
    for option in options:
        if option not in known:
            raise unknown_name("option", option, known, where=where)


register("se")(SqueezeExcitation)
