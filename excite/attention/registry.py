"""Attention by name: what ``attention="se"`` refers to."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from excite.attention.cbam import CBAM
from excite.attention.coordinate import CoordinateAttention
from excite.attention.eca import ECA
from excite.attention.effective_se import EffectiveSE
from excite.attention.gated_channel import GatedChannelTransformation
from excite.attention.gather_excite import GatherExcite
from excite.attention.no_squeeze import NoSqueeze
from excite.attention.scse import ConcurrentSE, SpatialSE
from excite.attention.simam import SimAM
from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.errors import BAD_USAGE, ExciteError, refuse_unknown_options
from excite.plugins import registry as plugins

PLUGIN_MARK = "plugin_attention"  # attribute of the modules that a plug-in built: the name of the attention


def attention_names() -> list[str]:
    """All registered names, sorted."""
    return plugins.names("attention")


def get_factory(name: str) -> Callable[..., nn.Module]:
    """The factory registered as ``name``. Raises: ExciteError for an unknown name, with the nearest match."""
    return plugins.get("attention", name).factory


def is_own_attention(module: nn.Module) -> bool:
    """Whether a module is attention of excite or of a plug-in, not of timm or torchvision."""
    inherited = any(cls.__module__.startswith("excite.attention.") for cls in type(module).__mro__)
    return inherited or PLUGIN_MARK in vars(module)


def create_attention(name: str, channels: int, **options: Any) -> nn.Module:
    """Create the attention module called ``name`` for feature maps (N, channels, H, W).

    Raises:
        ExciteError: for an unknown name or option, with the nearest match; for an invalid value; for
            ``identity`` if this attention cannot start as the identity.

    >>> create_attention("eca", 64, kernel_size=3)
    ECA(
      64, k=3
      (conv): Conv1d(1, 1, kernel_size=(3,), stride=(1,), padding=(1,), bias=False)
    )
    """
    plugin = plugins.get("attention", name)
    factory = plugin.factory
    if options.get("identity") is False and not _has_identity(factory):
        options = {name: value for name, value in options.items() if name != "identity"}
    if "identity" in options and not _has_identity(factory):
        able = [other for other in attention_names() if _starts_as_identity(get_factory(other))]
        raise ExciteError(
            f"attention {name!r} cannot start as the identity",
            where="identity",
            hint=f"omit it, or use one of {', '.join(able)}",
            exit_code=BAD_USAGE,
        )
    refuse_unknown_options(factory, options, except_for=("channels",), where=f"attention {name!r}")
    try:
        module = factory(channels, **options)
    except TypeError as error:  # an option of the wrong type
        what = (
            f"cannot be built with {', '.join(f'{key}={value!r}' for key, value in options.items())}: {error}"
        )
        raise ExciteError(what, where=f"attention {name!r}", exit_code=BAD_USAGE) from error
    return module if plugin.built_in else _marked(module, name)


def _marked(module: Any, name: str) -> nn.Module:
    """A plug-in's module with the mark of attention. Raises: ExciteError for another object."""
    if not isinstance(module, nn.Module):
        what = f"is {type(module).__name__}, not a torch.nn.Module"
        raise ExciteError(what, where=f"attention {name!r}", exit_code=BAD_USAGE)
    setattr(module, PLUGIN_MARK, name)
    return module


def _has_identity(factory: Callable[..., nn.Module]) -> bool:
    return "identity" in inspect.signature(factory).parameters


def _starts_as_identity(factory: Callable[..., nn.Module]) -> bool:
    """Whether it can with its default options; attention without parameters has the option and refuses it."""
    if not _has_identity(factory):
        return False
    try:
        factory(64, identity=True)
    except (ExciteError, TypeError):
        return False
    return True


def supports_identity(name: str, options: Mapping[str, Any]) -> bool:
    """Whether this attention can start with all gates at one. Raises: as ``create_attention``."""
    create_attention(name, 64, **options)
    try:
        create_attention(name, 64, **{**options, "identity": True})
    except ExciteError:
        return False
    return True


_BUILT_IN: dict[str, Callable[..., nn.Module]] = {
    "se": SqueezeExcitation,
    "ese": EffectiveSE,
    # scSE's channel branch is SE; its paper's setting is reduction=2.
    "cse": SqueezeExcitation,
    "sse": SpatialSE,
    "scse": ConcurrentSE,
    "eca": ECA,
    "cbam": CBAM,
    "ge": GatherExcite,
    "gct": GatedChannelTransformation,
    "simam": SimAM,
    "coordatt": CoordinateAttention,
    "nosqueeze": NoSqueeze,
}
plugins.register_built_in("attention", __name__, _BUILT_IN.items())
