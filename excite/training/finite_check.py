"""Stop a training as soon as its loss or gradient is not a finite number."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from excite.errors import ExciteError
from excite.system.world import World

CHECK_EVERY = 16  # steps on an accelerator, where each check waits for the device


class FiniteCheck:
    """Collects one number per step and checks them together.

    Args:
        steps: steps per epoch.
        device: where the numbers are; on the CPU each is checked at once.
        world: the processes that train together; one bad number stops them all.
        folder: of the checkpoints, for the message.
    """

    def __init__(self, *, steps: int, device: torch.device, world: World, folder: Path) -> None:
        self._steps, self._world, self._folder = steps, world, folder
        self._every = 1 if device.type == "cpu" else CHECK_EVERY
        self._unchecked: list[tuple[int, Tensor]] = []

    def add(self, step: int, value: Tensor) -> None:
        """Add the number of a step, counted from 1 over all epochs. Raises: ExciteError as ``validate``."""
        self._unchecked.append((step, value.detach()))
        if len(self._unchecked) >= self._every:
            self.validate()

    def validate(self) -> None:
        """Raises: ExciteError, in every process, if a number of any process is not finite."""
        if not self._unchecked:
            return
        finite = torch.isfinite(torch.stack([value for _, value in self._unchecked])).tolist()
        bad = [step for (step, _), good in zip(self._unchecked, finite, strict=True) if not good]
        [step] = self._world.all_reduce_max([min(bad, default=0)])
        if step:
            raise ExciteError(
                f"loss or gradient is not a finite number at step {step}",
                where=f"epoch {(step - 1) // self._steps + 1}",
                hint=f"the last good checkpoint is in {self._folder}; "
                "try a lower --lr, or --precision float32",
            )
        self._unchecked.clear()
