"""Evaluation mode for a while: every module gets its own mode back."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Generator[nn.Module, None, None]:
    """Evaluation mode inside the ``with`` block; each module's own mode after it, also after an error.

    ``model.train(was)`` would not do: it puts frozen parts, such as batch norms that keep their statistics,
    into training mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield model.eval()
    finally:
        for module, mode in modes:
            module.training = mode
