"""Logits of many images, on one process or several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.special
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

# From this many images on, an optimized copy pays: building it costs as much as three single predictions.
MIN_IMAGES_FOR_COPY = 256


def optimized_copy(
    model: nn.Module, source: PixelSubset, preprocessing: Preprocessing, device: torch.device
) -> nn.Module:
    """The optimized copy of a model if there are at least ``MIN_IMAGES_FOR_COPY`` images, else the model."""
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
    progress: Callable[[int, int], object] | None = None,
) -> np.ndarray:
    """Logits of N images, averaged over test-time augmentation: (N, C) in float32.

    Each process computes a part of them and returns them all. Every module of the model keeps its mode.

    Args:
        source: the pixels of the images.
        preprocessing: normalization and test-time augmentation.
        precision: ``float32``, or ``bfloat16`` or ``float16`` for autocast.
        batch_size: images per forward pass.
        world: the processes that share the work; by default this process alone.
        progress: called with (images done, images of this process).
    """
    world = world or World()
    bounds = np.linspace(0, len(source), world.size + 1).astype(int)
    mine = source.part(bounds[world.rank], bounds[world.rank + 1])
    parts = []
    with evaluating(model):
        network = optimized_copy(model, mine, preprocessing, device)
        for images in evaluation_batches(mine, preprocessing, batch_size, device):
            with autocast(device, precision):
                logits = [network(version) for version in apply_tta(images, preprocessing.tta)]
            parts.append(torch.stack(logits).float().mean(dim=0).cpu().numpy())
            if progress is not None:
                progress(min(len(parts) * batch_size, len(mine)), len(mine))
    gathered = world.gather(np.concatenate(parts) if parts else None)
    return np.concatenate([part for part in gathered if part is not None])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits: (N, C) -> (N, C), in float64 whatever the dtype of the logits.

    >>> softmax(np.array([[0.0, 0.0]], dtype=np.float32))
    array([[0.5, 0.5]])
    """
    probabilities: np.ndarray = scipy.special.softmax(logits.astype(np.float64), axis=1)
    return probabilities
