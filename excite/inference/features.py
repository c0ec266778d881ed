"""What a network's head sees of each image, computed once and remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from excite.data.batches import evaluation_batches
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSource, PixelSubset
from excite.inference.predict import optimized_copy
from excite.inference.tta import apply_tta
from excite.models.head import linear_head
from excite.system.evaluation_mode import evaluating
from excite.system.files import replacing

BATCH = 64
_VERSION = 2


@torch.inference_mode()
def extract_features(
    model: nn.Module,
    source: PixelSubset,
    preprocessing: Preprocessing,
    *,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """(N, F): the input of the network's last layer for each image, in float32 as a classifier computes.

    Of several views it is the mean, whose logits are the mean of the views' logits.
    """
    found: list[Tensor] = []
    views: list[Tensor] = []

    def keep(_head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        views.append(inputs[0].float().cpu())

    with evaluating(model):
        asked = optimized_copy(model, source, preprocessing, device)
        handle = linear_head(asked).register_forward_pre_hook(keep)
        try:
            for images in evaluation_batches(source, preprocessing, BATCH, device):
                for view in apply_tta(images, preprocessing.tta):
                    asked(view.contiguous(memory_format=torch.channels_last))
                found.append(torch.stack(views).mean(dim=0))
                views.clear()
                if progress is not None:
                    progress(min(len(found) * BATCH, len(source)), len(source))
        finally:
            handle.remove()
    return torch.cat(found).numpy()


def cached_features(
    model: nn.Module,
    pixels: PixelSource,
    pixels_key: str,
    preprocessing: Preprocessing,
    cache: Path,
    *,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """``extract_features`` of all pixels, cached by the pictures, the weights except the head, and how
    it computes.

    Args:
        pixels: (N, S, S, 3) uint8.
        pixels_key: what the pixels are remembered by.
    """
    key = _key(model, pixels_key, preprocessing, device)
    path = cache / "features" / f"{key}.npy"
    try:
        known = np.load(path, allow_pickle=False)
        if known.dtype == np.float32 and len(known) == len(pixels):
            return known
    except (OSError, ValueError):  # not there, or cut short
        pass
    found = extract_features(
        model,
        PixelSubset(pixels),
        preprocessing,
        device=device,
        progress=progress,
    )
    with replacing(path) as file:
        np.save(file, found, allow_pickle=False)
    return found


def _key(model: nn.Module, pixels_key: str, preprocessing: Preprocessing, device: torch.device) -> str:
    head = linear_head(model)
    own = {id(tensor) for tensor in (head.weight, head.bias)}
    how = f"{preprocessing.to_dict()} {device.type} {torch.__version__}"
    digest = hashlib.sha256(f"{_VERSION} {pixels_key} {how} {model}".encode())
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in own:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
