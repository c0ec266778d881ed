"""The validation set of a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.inference.predict import predict_logits
from excite.system.world import World
from excite.training.objective import ClassObjective, Objective


@dataclass(frozen=True)
class Validation:
    """The images that the averaged model is evaluated on after each epoch.

    Args:
        source: N images.
        targets: (N,) class indices, or (N, L) as ``label_targets`` gives them.
        preprocessing: how the images become input.
        objective: of the training.
    """

    source: PixelSubset
    targets: np.ndarray
    preprocessing: Preprocessing
    objective: Objective = field(default_factory=ClassObjective)

    def evaluate(
        self,
        model: nn.Module,
        *,
        device: torch.device,
        precision: str,
        world: World,
        progress: Callable[[int, int], object] | None = None,
    ) -> tuple[float, float]:
        """Mean log loss and accuracy (of several labels, of their known values); each process evaluates a
        part of the images, and gets the result.

        Args:
            progress: called with (images done, images of this process).
        """
        logits = predict_logits(
            model,
            self.source,
            self.preprocessing,
            device=device,
            precision=precision,
            world=world,
            progress=progress,
        )
        scores, truth = torch.from_numpy(logits), torch.from_numpy(self.targets)
        loss = self.objective.log_loss(scores, truth)
        return loss, float(self.objective.correct(scores, truth).double().mean())
