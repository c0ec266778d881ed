"""Choose the backend of the fused operators: by EXCITE_KERNELS, or in tests by a context manager."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import cache
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.modules import module as hooks

from excite.errors import BAD_USAGE, ExciteError
from excite.kernels import reference

MODES = ("auto", "on", "off", "plain")
# On a CPU, calling a fused operator costs about 0.1 ms more than PyTorch's own operators. It saves that from
# this many elements on, in float32 and in 16 bits. Measured by ``benchmarks/min_sizes.py``.
MIN_SIZES = {
    "norm": (1 << 22, 1 << 20),  # training, norm and ReLU alone
    "gate": (1 << 19, 1 << 18),  # training, with attention
    "inference": (1 << 19, 1 << 18),
    "pool": (1 << 18, 1 << 18),
    "block": (1 << 21, 1 << 20),  # training, all maps of a dense block
    "depthwise": (1 << 16, 1 << 16),  # training
    "always": (0, 0),
}
_mode: ContextVar[str | None] = ContextVar("kernels", default=None)


def kernel_mode() -> str:
    """``auto``: fused where it is faster; ``on``: wherever possible; ``off``: PyTorch's modules; ``plain``:
    the fused operators' reference implementation in PyTorch.

    Raises:
        ExciteError: if EXCITE_KERNELS has another value.
    """
    mode = _mode.get() or os.environ.get("EXCITE_KERNELS", "auto")
    if mode not in MODES:
        raise ExciteError(
            f"must be one of {', '.join(MODES)}, got {mode!r}", where="EXCITE_KERNELS", exit_code=BAD_USAGE
        )
    return mode


@contextlib.contextmanager
def use_kernels(mode: str) -> Iterator[None]:
    """In the ``with`` block, ``kernel_mode()`` is ``mode``, in this thread only."""
    before = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(before)


def select_backend(x: Tensor, task: str = "always", numel: int | None = None) -> ModuleType | None:
    """The backend module for feature maps like x, (N, C, H, W); None: run PyTorch's own modules.

    None while PyTorch compiles, exports, or traces, since it fuses by itself or must see every operator; for
    memory that is not channels-last; and for float64, whose precision the kernels do not keep.

    Args:
        task: a key of ``MIN_SIZES``.
        numel: number of elements of all maps of the task; None: that of x.
    """
    mode = kernel_mode()
    if mode == "off" or not isinstance(x, Tensor) or type(x) not in (Tensor, torch.nn.Parameter):
        return None
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or _has_global_hooks():
        return None
    if x.numel() == 0 or not x.is_contiguous(memory_format=torch.channels_last):
        return None
    if mode == "plain":
        return reference if x.is_floating_point() else None
    size = x.numel() if numel is None else numel
    if x.device.type == "cpu" and mode == "auto" and size < MIN_SIZES[task][x.dtype != torch.float32]:
        return None
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16):
        return _load_backend("excite.kernels.cpu.passes")
    if x.device.type == "cuda" and x.dtype in (torch.float32, torch.bfloat16, torch.float16):
        return _load_backend("excite.kernels.gpu.passes")
    return None


def select_matmul_backend(backend: ModuleType) -> ModuleType | None:
    """The module with matrix products that include the norm before and the statistics after them.

    None on a CPU, where blocks of rows stay in the cache between a pass and a product.
    """
    if backend is reference:
        return reference
    on_gpu = backend.__name__ == "excite.kernels.gpu.passes"
    return importlib.import_module("excite.kernels.gpu.matmul") if on_gpu else None


def describe_backend(device: torch.device) -> str:
    """The backend on a device, in words for ``excite doctor``."""
    if kernel_mode() not in ("auto", "on"):
        return f"EXCITE_KERNELS={kernel_mode()}"
    image = torch.zeros(1, 1, 1, 1, device=device)
    backend = select_backend(image)
    return "none on this machine: plain PyTorch" if backend is None else f"fused, by {backend.__name__}"


def _has_global_hooks() -> bool:
    """Whether global hooks observe every module call, or a transform intercepts every operator."""
    global_hooks = (
        hooks._global_forward_hooks,
        hooks._global_forward_pre_hooks,
        hooks._global_backward_hooks,
        hooks._global_backward_pre_hooks,
    )
    transformed = torch._C._functorch.maybe_current_level() is not None
    return any(global_hooks) or transformed or torch._C._len_torch_dispatch_stack() > 0


def has_no_hooks(*modules: torch.nn.Module) -> bool:
    """Whether the modules need not be called: no hooks, and no ``forward`` set on the instance."""
    return not any(
        "forward" in vars(module)
        or module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        for module in modules
    )


Waiting = Callable[[str], AbstractContextManager[object]]
_waiting: ContextVar[Waiting] = ContextVar("_waiting", default=contextlib.nullcontext)


@contextlib.contextmanager
def compilation_named_by(waiting: Waiting) -> Iterator[None]:
    """Name the compilation of kernels that begins in the block, which takes up to half a minute once.

    Args:
        waiting: a function from a name to a context, such as ``Display.waiting``.
    """
    token = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(token)


@cache
def _load_backend(name: str) -> ModuleType | None:
    """The compiled passes; None, with one warning, if this machine cannot compile them."""
    try:
        with _waiting.get()("loading kernels, which are compiled once for this machine"):
            backend = importlib.import_module(name)
            backend.check()
    except Exception as error:
        warnings.warn(f"fused kernels are not available, using plain PyTorch: {error}", stacklevel=2)
        return None
    return backend
