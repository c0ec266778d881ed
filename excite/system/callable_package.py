"""Packages that can be called as the public function of the same name."""

from __future__ import annotations

import importlib
import inspect
import sys
from types import ModuleType
from typing import Any


def make_callable(package: str, module: str, function: str) -> None:
    """Let a package be called: ``excite.audit(data)`` and ``excite.audit.audit`` then both work.

    A submodule takes its name in the parent package as soon as anything imports it, so a function of this
    name would disappear.

    Args:
        package: name of the package, which is being imported.
        module: module of the function, imported on the first call.
        function: name of the function.
    """

    def target() -> Any:
        return getattr(importlib.import_module(module), function)

    class CallablePackage(ModuleType):
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return target()(*arguments, **options)

        @property
        def __signature__(self) -> inspect.Signature:
            return inspect.signature(target())

    sys.modules[package].__class__ = CallablePackage
