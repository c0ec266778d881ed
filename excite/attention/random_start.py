"""Random initial weights of attention that do not change the caller's random state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def random_start() -> Iterator[None]:
    """Draws in the block are determined by the state of PyTorch's generator, which is restored after it.

    Networks built from one seed thus share every weight that they have in common, with attention or without:
    the arms of a study differ in the attention only.
    """
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), device="cpu")))
        yield
