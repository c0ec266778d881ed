"""Compiled kernels in the cache folder: never in the installed package, and optional.

numba's own cache writes beside the source file. pip leaves such files behind when it uninstalls, and the rest
of the folder then hides an editable install. Its index is also lost when two processes write at once.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import ccallback, serialize
from numba.core.compiler import CompileResult

from excite.errors import ExciteError
from excite.system.cache import cache_path
from excite.system.files import replacing
from excite.version import __version__

_DIGEST_BYTES = 32


def compile_kernel(function: Callable[..., None], signature: Any) -> Any:
    """``numba.cfunc(signature)(function)``, loaded from the cache folder if it was compiled before."""
    kernel: Any = ccallback.CFunc(function, (signature.args, signature.return_type), locals={}, options={})
    kernel._cache = KernelCache(function)
    kernel.compile()
    return kernel


class KernelCache:
    """The cache of one function: numba calls ``load_overload`` and ``save_overload``.

    If the file is missing, damaged, or unreadable, the function is compiled again; if the folder cannot be
    written to, the function is not cached. Files are replaced atomically, so that processes may compile at
    the same time.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """The compiled function, or None."""
        target_context.refresh()
        try:
            content = self._path(target_context.codegen()).read_bytes()
        except (OSError, ExciteError):
            return None
        digest, compiled = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(compiled).digest() != digest:
            return None
        return CompileResult._rebuild(target_context, *pickle.loads(compiled))  # noqa: S301 - native code anyway

    def save_overload(self, signature: Any, result: Any) -> None:
        """Save a compiled function if the folder can be written to."""
        if result.library.has_dynamic_globals:  # addresses of this process
            return
        compiled = serialize.dumps(result._reduce())
        try:
            with replacing(self._path(result.codegen)) as file:
                file.write(hashlib.sha256(compiled).digest() + compiled)
        except (OSError, ExciteError):
            return

    def _path(self, codegen: Any) -> Path:
        return cache_path() / "kernels" / build_key(codegen.magic_tuple()) / f"{self._name}.bin"


@cache
def build_key(processor: tuple[str, ...]) -> str:
    """A hash of everything that compiled code depends on: sources, versions, settings, and the processor.

    Args:
        processor: LLVM's target triple, and the name and features of the processor.
    """
    settings = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_"))
    versions = __version__, numba.__version__, llvmlite.__version__, sys.version
    key = hashlib.sha256(repr((versions, processor, settings)).encode())
    for package in ("excite.kernels", "excite.kernels.cpu"):
        for source in sorted(files(package).iterdir(), key=lambda path: path.name):
            if source.is_file():
                key.update(source.read_bytes())
    return key.hexdigest()[:32]
