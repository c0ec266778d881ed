"""Whether fused operators run, and which: a variable of the environment, and a context for tests."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.modules import module as hooks

from excite.errors import BAD_USAGE, ExciteError
from excite.kernels import reference

MODES = ("auto", "on", "off", "plain")
# On the processor a call of the operators costs some 0.1 ms more than PyTorch's own, which their passes save
# from so many numbers in a map on: in float32, and in 16 bits. Measured by ``benchmarks/min_sizes.py``.
MIN_SIZES = {
    "norm": (1 << 22, 1 << 20),  # training, norm and ReLU alone
    "gate": (1 << 19, 1 << 18),  # training, with attention
    "answer": (1 << 19, 1 << 18),
    "pool": (1 << 18, 1 << 18),
    "block": (1 << 21, 1 << 20),  # training, all maps of a dense block
    "always": (0, 0),
}
_mode: ContextVar[str | None] = ContextVar("kernels", default=None)


def kernel_mode() -> str:
    """``auto``: fused where it pays; ``on``: fused wherever it can be; ``off``: the modules' own PyTorch;
    ``plain``: the operators' definition in PyTorch.

    Raises: ExciteError if EXCITE_KERNELS holds none of them.
    """
    given = _mode.get() or os.environ.get("EXCITE_KERNELS", "auto")
    if given not in MODES:
        raise ExciteError(
            f"must be one of {', '.join(MODES)}, not {given!r}", where="EXCITE_KERNELS", exit_code=BAD_USAGE
        )
    return given


@contextlib.contextmanager
def use_kernels(choice: str) -> Iterator[None]:
    """Within the block, EXCITE_KERNELS is ``choice``, for this thread alone."""
    before = _mode.set(choice)
    try:
        yield
    finally:
        _mode.reset(before)


def select_backend(x: Tensor, task: str = "always", numbers: int | None = None) -> ModuleType | None:
    """The module with the passes for a feature map (N, C, H, W) like this one; None: use plain modules.

    Args:
        task: of ``MIN_SIZES``, which says from which size on it pays.
        numbers: in the maps that it is about, if not in x.

    None while PyTorch compiles, exports or traces, which fuse by themselves or must see every operator; for
    memory that is not channels-last; and for float64, which is asked for when digits matter.
    """
    chosen = kernel_mode()
    if chosen == "off" or not isinstance(x, Tensor) or type(x) not in (Tensor, torch.nn.Parameter):
        return None
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or _has_global_hooks():
        return None
    if x.numel() == 0 or not x.is_contiguous(memory_format=torch.channels_last):
        return None
    if chosen == "plain":
        return reference if x.is_floating_point() else None
    size = x.numel() if numbers is None else numbers
    if x.device.type == "cpu" and chosen == "auto" and size < MIN_SIZES[task][x.dtype != torch.float32]:
        return None
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16):
        return _load_backend("excite.kernels.cpu.passes")
    if x.device.type == "cuda" and x.dtype in (torch.float32, torch.bfloat16, torch.float16):
        return _load_backend("excite.kernels.gpu.passes")
    return None


def select_matmul_backend(backend: ModuleType) -> ModuleType | None:
    """The module with whole products that have a norm before and sums behind them; None on the processor,
    where pieces of rows go from pass to product in the cache."""
    if backend is reference:
        return reference
    on_gpu = backend.__name__ == "excite.kernels.gpu.passes"
    return importlib.import_module("excite.kernels.gpu.matmul") if on_gpu else None


def describe_backend(device: torch.device) -> str:
    """What runs on the device, for a person."""
    if kernel_mode() not in ("auto", "on"):
        return f"EXCITE_KERNELS={kernel_mode()}"
    image = torch.zeros(1, 1, 1, 1, device=device)
    found = select_backend(image)
    return "none here, plain PyTorch instead" if found is None else f"fused, by {found.__name__}"


def _has_global_hooks() -> bool:
    """Whether somebody wants to see every module's call or transform every operator."""
    everywhere = (
        hooks._global_forward_hooks,
        hooks._global_forward_pre_hooks,
        hooks._global_backward_hooks,
        hooks._global_backward_pre_hooks,
    )
    transformed = torch._C._functorch.maybe_current_level() is not None
    return any(everywhere) or transformed or torch._C._len_torch_dispatch_stack() > 0


def has_no_hooks(*modules: torch.nn.Module) -> bool:
    """Whether nobody would miss the modules' calls: no hooks, no forward set on the instance."""
    return not any(
        "forward" in vars(module)
        or module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        for module in modules
    )


@cache
def _load_backend(name: str) -> ModuleType | None:
    """The compiled passes; None, said once, where this machine cannot compile them."""
    try:
        found = importlib.import_module(name)
        found.check()
    except Exception as error:
        warnings.warn(f"no fused kernels here, plain PyTorch instead: {error}", stacklevel=2)
        return None
    return found
