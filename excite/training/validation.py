"""The validation set of a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.inference.predict import predict_logits
from excite.system.world import World


@dataclass(frozen=True)
class Validation:
    """The images that the averaged model is evaluated on after each epoch.

    Args:
        source: N images.
        targets: (N,) class indices.
        preprocessing: how the images become input.
    """

    source: PixelSubset
    targets: np.ndarray
    preprocessing: Preprocessing

    def evaluate(
        self,
        model: nn.Module,
        *,
        device: torch.device,
        precision: str,
        world: World,
        progress: Callable[[int, int], object] | None = None,
    ) -> tuple[float, float]:
        """Mean log loss and accuracy; each process evaluates a part of the images, and gets the result.

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
        loss = float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(self.targets)))
        return loss, float((logits.argmax(axis=1) == self.targets).mean())
