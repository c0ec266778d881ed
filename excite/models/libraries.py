"""Importing timm and torchvision without torch's compiler."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

import torch

_COMPILER, _UTILS = "torch._dynamo", "torch._dynamo.utils"


@contextmanager
def without_compiler() -> Iterator[None]:
    """What is imported in this block takes functions of the compiler that import it when they are called.

    torchvision 0.29 takes one from ``torch._dynamo.utils``, which it asks when ``roi_align`` is compiled, and
    timm 1.0.31 marks some methods with ``torch.compiler.disable``. With the compiler come TorchInductor,
    triton, sympy and torch.distributed: half of all that is imported to predict. Whoever imports the compiler
    itself, in the block or later, gets it.
    """
    if _COMPILER in sys.modules:
        yield
        return
    finder, disable = _Aside(), torch.compiler.disable
    sys.modules[_UTILS] = _Later(_UTILS)
    sys.meta_path.insert(0, finder)
    torch.compiler.disable = _disable
    try:
        yield
    finally:
        torch.compiler.disable = disable
        sys.meta_path.remove(finder)
        _make_room()


class _Later(ModuleType):
    """Stands for a module whose functions are wanted, but not yet."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def later(*args: Any, **options: Any) -> Any:
            _make_room()
            return getattr(importlib.import_module(self.__name__), name)(*args, **options)

        return later


class _Aside(MetaPathFinder):
    """Makes room when the compiler itself is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name == _COMPILER:
            _make_room()


def _disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """``torch.compiler.disable`` as torch itself uses it, without a reason to be told."""
    return torch._disable_dynamo(fn, recursive)


def _make_room() -> None:
    if isinstance(sys.modules.get(_UTILS), _Later):
        del sys.modules[_UTILS]
