"""What names refer to: attention modules, networks, augmentations, losses, and hooks of excite and users.

A module registers what it brings with the decorator ``register``. It is imported because an installed package
declares it, or because the user names it (``plugins/loading.py``), never because a file of a run says so.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.plugins.loading import load_installed

KINDS = ("attention", "model", "augmentation", "loss", "hook")
_RESERVED = ("auto", "none")  # values of options with a meaning of their own

Factory = TypeVar("Factory", bound=Callable[..., Any])


@dataclass(frozen=True)
class Plugin:
    """A registered factory.

    Args:
        kind: one of ``KINDS``.
        name: what options call it.
        factory: a class or a function; ``register`` says with what it is called.
        module: the module that registered it.
        file: of the module; None for one that is typed into a session.
        sha256: of the file when it was imported; a later change of the file is not in use.
    """

    kind: str
    name: str
    factory: Callable[..., Any]
    module: str
    file: Path | None = None
    sha256: str | None = None

    @property
    def built_in(self) -> bool:
        """Whether it is part of excite."""
        return self.module.partition(".")[0] == "excite"


_REGISTERED: dict[str, dict[str, Plugin]] = {kind: {} for kind in KINDS}


def register(kind: str, name: str) -> Callable[[Factory], Factory]:
    """Decorator that registers a class or a function under a name, which options then take.

    Args:
        kind: what it is, and with what it is called:

            - ``attention``: ``factory(channels, **attention_options)`` returns a module that maps feature
              maps (N, channels, H, W) to the same shape.
            - ``model``: ``factory(num_classes=..., **model_options)`` returns a module that maps images
              (N, 3, S, S) to logits (N, num_classes). Parameters ``in_chans``, ``image_size``, and
              ``pretrained`` are passed if it has them.
            - ``augmentation``: ``factory(**augment_options)`` returns a function of an image (3, S, S) uint8
              that returns one of the same shape, uint8 or floating-point in [0, 1], such as a
              ``torchvision.transforms.v2.Compose``. If it has an attribute ``whole_batch`` that is true, it
              gets the batch (N, 3, S, S) instead.
            - ``loss``: ``factory(**loss_options)`` returns a function of logits (N, C) float32 and targets,
              (N,) class indices or (N, C) probabilities, that returns the loss of each image, (N,).
            - ``hook``: ``factory()`` returns an ``excite.Hook``, which ``--track NAME`` calls.
        name: letters, digits, and ``_ . -``.

    Raises:
        ExciteError: for an unknown kind, an invalid name, and a name that is taken.

    >>> from torch import nn
    >>> @register("attention", "halve")
    ... class Halve(nn.Module):
    ...     def __init__(self, channels: int, *, factor: float = 0.5) -> None:
    ...         super().__init__()
    ...         self.factor = factor
    ...
    ...     def forward(self, u):
    ...         return u * self.factor
    >>> get("attention", "halve").factory(64, factor=0.25).factor
    0.25
    >>> del _REGISTERED["attention"]["halve"]
    """
    caller = sys._getframe(1).f_globals
    module = str(caller.get("__name__", "__main__"))
    file = Path(caller["__file__"]).absolute() if caller.get("__file__") else None
    if kind not in KINDS:
        raise unknown_name("kind", kind, KINDS, where="register")
    if not re.fullmatch(r"\w[\w.-]*", name) or name in _RESERVED:
        hint = "use letters, digits, and _ . -"
        raise ExciteError(f"{name!r} cannot be the name of {_a(kind)}", hint=hint, exit_code=BAD_USAGE)

    def add(factory: Factory) -> Factory:
        known = file is not None and file.is_file()
        digest = hashlib.sha256(file.read_bytes()).hexdigest() if file is not None and known else None
        _add(Plugin(kind, name, factory, module, file if known else None, digest))
        return factory

    return add


def register_built_in(kind: str, module: str, names: Iterable[tuple[str, Callable[..., Any]]]) -> None:
    """Register what a module of excite brings, so that no other can take these names."""
    for name, factory in names:
        _add(Plugin(kind, name, factory, module))


def _add(plugin: Plugin) -> None:
    """Raises: ExciteError for a name that is taken, unless by the same code: a cell or a module run again."""
    before = _REGISTERED[plugin.kind].get(plugin.name)
    if before is not None and (before.module, _code(before)) != (plugin.module, _code(plugin)):
        what = f"{plugin.kind} {plugin.name!r} of {plugin.module} is registered already, by {before.module}"
        raise ExciteError(what, hint="choose another name", exit_code=BAD_USAGE)
    _REGISTERED[plugin.kind][plugin.name] = plugin


def registered(kind: str, name: str) -> Plugin | None:
    """What has been registered under a name so far; installed packages are not searched."""
    return _REGISTERED[kind].get(name)


def find(kind: str, name: str) -> Plugin | None:
    """What a name refers to; installed packages are searched if no module has registered it so far."""
    if name not in _REGISTERED[kind]:
        load_installed()
    return _REGISTERED[kind].get(name)


def get(kind: str, name: str) -> Plugin:
    """What a name refers to. Raises: ExciteError for an unknown name, with the nearest match."""
    plugin = find(kind, name)
    if plugin is None:
        error = unknown_name(kind, name, _REGISTERED[kind])
        if str(error.hint).startswith("did you mean"):
            raise error
        hint = f"{error.hint}; import the module that registers your own: --import MODULE"
        raise ExciteError(error.what, hint=hint, exit_code=error.exit_code)
    return plugin


def names(kind: str) -> list[str]:
    """All names of a kind, sorted, with those of installed packages."""
    load_installed()
    return sorted(_REGISTERED[kind])


def own_plugins() -> list[Plugin]:
    """What is not part of excite, by kind and name, with installed packages."""
    load_installed()
    return [
        plugin for kind in KINDS for _, plugin in sorted(_REGISTERED[kind].items()) if not plugin.built_in
    ]


def _code(plugin: Plugin) -> str:
    return getattr(plugin.factory, "__qualname__", type(plugin.factory).__qualname__)


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
