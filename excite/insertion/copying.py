"""Deep copies of any network, or one line that says why it cannot be copied."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn

from excite.errors import ExciteError

M = TypeVar("M", bound=nn.Module)


def deep_copy(model: M, memo: dict[int, Any] | None = None) -> M:
    """A deep copy of the model.

    Tensors that a module derives from its parameters, as the older ``nn.utils.weight_norm`` does, cannot be
    copied by PyTorch, since they belong to a graph; their values are, and the next call derives them anew.

    Args:
        memo: what stands for some of the model's tensors in the copy, by ``id``.

    Raises:
        ExciteError: for what Python cannot copy.
    """
    memo = {} if memo is None else memo
    kept = []  # ids stay valid as long as their objects live
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf and id(value) not in memo:
                kept.append(value)
                memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # whatever a foreign module holds: locks, generators, graphs
        reason = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
        where = next((path for path, module in model.named_modules() if path and not _can_copy(module)), None)
        what = f"this model cannot be copied: {reason}"
        hint = "keep such objects out of the modules, or copy the model yourself where it is built"
        raise ExciteError(what, where=where or type(model).__name__, hint=hint) from error


def _can_copy(module: nn.Module) -> bool:
    """Whether the module's own attributes, its children aside, can be copied."""
    for name, value in vars(module).items():
        if name in ("_modules", "_parameters", "_buffers") or isinstance(value, Tensor):
            continue
        try:
            copy.deepcopy(value)
        except Exception:
            return False
    return True
