"""Features of images: the input of a network's last layer, cached on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
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
from excite.system.cache import name_owner, owners_of
from excite.system.evaluation_mode import evaluating
from excite.system.files import replacing

BATCH_SIZE = 64
_VERSION = 2  # part of the cache key; raise it when features change


@torch.inference_mode()
def extract_features(
    model: nn.Module,
    source: PixelSubset,
    preprocessing: Preprocessing,
    *,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The input of the network's linear head for each of N images: (N, F), in float32.

    With test-time augmentation, features are averaged; the head is linear, so its logits are averaged, too.

    Raises:
        ExciteError: if the network does not end in a linear layer.
    """
    batches: list[Tensor] = []
    versions: list[Tensor] = []

    def record(_head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        versions.append(inputs[0].float().cpu())

    with evaluating(model):
        network = optimized_copy(model, source, preprocessing, device)
        handle = linear_head(network).register_forward_pre_hook(record)
        try:
            for images in evaluation_batches(source, preprocessing, BATCH_SIZE, device):
                for version in apply_tta(images, preprocessing.tta):
                    network(version.contiguous(memory_format=torch.channels_last))
                batches.append(torch.stack(versions).mean(dim=0))
                versions.clear()
                if progress is not None:
                    progress(min(len(batches) * BATCH_SIZE, len(source)), len(source))
        finally:
            handle.remove()
    return torch.cat(batches).numpy()


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
    """``extract_features`` of all pixels, cached by pixels, weights except those of the head, and settings.

    Args:
        pixels: (N, S, S, 3) uint8.
        pixels_key: a key that identifies the pixels.
        cache: the cache folder.
    """
    key = _key(model, pixels_key, preprocessing, device)
    path = cache / "features" / f"{key}.npy"
    for folder in owners_of(cache / "pixels" / f"{pixels_key}.npy"):
        name_owner(path, [str(Path(folder) / "image")])
    try:
        cached: np.ndarray = np.load(path, allow_pickle=False)
        if cached.dtype == np.float32 and len(cached) == len(pixels):
            return cached
    except (OSError, ValueError):  # missing or truncated
        pass
    features = extract_features(
        model,
        PixelSubset(pixels),
        preprocessing,
        device=device,
        progress=progress,
    )
    with suppress(OSError), replacing(path) as file:  # a failure costs time later, nothing else
        np.save(file, features, allow_pickle=False)
    return features


def _key(model: nn.Module, pixels_key: str, preprocessing: Preprocessing, device: torch.device) -> str:
    head = linear_head(model)
    in_head = {id(tensor) for tensor in (head.weight, head.bias)}
    settings = f"{preprocessing.to_dict()} {device.type} {torch.__version__}"
    digest = hashlib.sha256(f"{_VERSION} {pixels_key} {settings} {model}".encode())
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in in_head:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
