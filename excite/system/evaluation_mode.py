"""Evaluation mode in a ``with`` block, after which every module has its previous mode."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Generator[nn.Module, None, None]:
    """Put a model into evaluation mode, and restore the mode of each module at the end, also after an error.

    ``model.train()`` would also put frozen modules, such as batch norms with fixed statistics, into training
    mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield model.eval()
    finally:
        for module, mode in modes:
            module.training = mode
