"""Pixels to logits, on one process or many."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from excite.data.batches import evaluation_batches
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.inference.optimized import optimize_for_inference
from excite.inference.tta import apply_tta
from excite.system.devices import autocast
from excite.system.evaluation_mode import evaluating
from excite.system.world import World

# From so many images on, a copy that answers earns what it costs to make: three answers to one image.
MIN_IMAGES_FOR_COPY = 256


def optimized_copy(
    model: nn.Module, source: PixelSubset, preprocessing: Preprocessing, device: torch.device
) -> nn.Module:
    """``answering``'s copy of a model in evaluation mode where there are images enough to earn it; else the
    model itself."""
    if len(source) < MIN_IMAGES_FOR_COPY:
        return model
    return optimize_for_inference(
        model, next(iter(evaluation_batches(source.part(0, 1), preprocessing, 1, device)))
    )


@torch.inference_mode()
def predict_logits(
    model: nn.Module,
    source: PixelSubset,
    preprocessing: Preprocessing,
    *,
    device: torch.device,
    precision: str = "float32",
    batch_size: int = 64,
    world: World | None = None,
) -> np.ndarray:
    """Logits (N, C) float32 of N images, means over their views; each process takes a share and gets all.

    Every part of the model is left in the mode that it was in.
    """
    world = world or World()
    bounds = np.linspace(0, len(source), world.size + 1).astype(int)
    mine = source.part(bounds[world.rank], bounds[world.rank + 1])
    parts = []
    with evaluating(model):
        asked = optimized_copy(model, mine, preprocessing, device)
        for images in evaluation_batches(mine, preprocessing, batch_size, device):
            with autocast(device, precision):
                views = [asked(view) for view in apply_tta(images, preprocessing.tta)]
            parts.append(torch.stack(views).float().mean(dim=0).cpu().numpy())
    gathered = world.gather(np.concatenate(parts) if parts else None)
    return np.concatenate([part for part in gathered if part is not None])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows (N, C) of logits as probabilities, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
