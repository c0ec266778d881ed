"""A plug-in's augmentation, with draws that depend only on the seed that it is called with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from excite.errors import BAD_USAGE, ExciteError, refuse_unknown_options
from excite.plugins.registry import get


class SeededTransform:
    """Calls a transform with the random states of PyTorch, NumPy, and Python seeded, and restores them.

    An image, or with ``whole_batch`` a batch, has a seed of its own, so that the same seed gives the same
    pixels in one process or several, and after a resume.

    Args:
        name: of the augmentation, for errors.
        transform: maps an image (3, S, S) uint8 to one of the same shape, uint8 or floating-point in [0, 1];
            with an attribute ``whole_batch`` that is true, a batch (N, 3, S, S).

    Example:
        >>> from torchvision.transforms import v2
        >>> brighter = SeededTransform("brighter", v2.ColorJitter(brightness=0.5))
        >>> pixels = torch.full((2, 4, 4, 3), 100, dtype=torch.uint8)
        >>> images = brighter(pixels, [1, 2])
        >>> images.shape, torch.equal(images, brighter(pixels, [1, 2]))
        (torch.Size([2, 3, 4, 4]), True)
    """

    def __init__(self, name: str, transform: Callable[[Tensor], Tensor]) -> None:
        self.name = name
        self.transform = transform
        self.whole_batch = bool(getattr(transform, "whole_batch", False))

    def __call__(self, pixels: Tensor, seeds: Sequence[int]) -> Tensor:
        """Pixels (N, S, S, 3) uint8 -> images (N, 3, S, S) float32 in [0, 1].

        Args:
            seeds: one for each image; with ``whole_batch``, one for all.

        Raises:
            ExciteError: if the transform fails, or returns anything but images of the same size.
        """
        images = pixels.permute(0, 3, 1, 2).contiguous()
        with _random_state_restored(images.device):
            if self.whole_batch:
                return self._apply(images, seeds[0])
            return torch.stack([self._apply(image, seed) for image, seed in zip(images, seeds, strict=True)])

    def check(self, image_size: int) -> None:
        """Raises: ExciteError, as for a call, and if the same seed gives different images."""
        noise = np.random.default_rng(0).integers(0, 256, (2, image_size, image_size, 3), dtype=np.uint8)
        pixels = torch.from_numpy(noise)
        if not torch.equal(self(pixels, [1, 2]), self(pixels, [1, 2])):
            what = "gives different images for the same seed: it has a random generator of its own"
            hint = "draw with torch, numpy.random, or random, whose states excite seeds for each image"
            raise ExciteError(what, where=self._where, hint=hint, exit_code=BAD_USAGE)

    @property
    def _where(self) -> str:
        return f"augmentation {self.name!r}"

    def _apply(self, images: Tensor, seed: int) -> Tensor:
        _seed_all(seed, images.device)
        try:
            changed = self.transform(images)
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise ExciteError(f"failed: {reason}", where=self._where) from error
        if not isinstance(changed, Tensor) or changed.shape != images.shape:
            shape = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            what = (
                f"returns {shape} for {'a batch' if self.whole_batch else 'an image'} {tuple(images.shape)}"
            )
            raise ExciteError(what, where=self._where, hint="it must keep the shape")
        if changed.dtype == torch.uint8:
            return changed.as_subclass(Tensor).to(torch.float32).div_(255)
        if not changed.is_floating_point():
            what = f"returns {changed.dtype}"
            raise ExciteError(what, where=self._where, hint="return uint8, or floating-point in [0, 1]")
        return changed.as_subclass(Tensor).to(torch.float32)


def plugin_transform(name: str, options: Mapping[str, Any]) -> SeededTransform:
    """The augmentation that a plug-in registered.

    Raises:
        ExciteError: for an unknown name or option, and if it cannot be built or called.
    """
    factory = get("augmentation", name).factory
    where = f"augmentation {name!r}"
    refuse_unknown_options(factory, options, where=where)
    try:
        transform = factory(**options)
    except ExciteError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ExciteError(f"could not be built: {reason}", where=where, exit_code=BAD_USAGE) from error
    if not callable(transform):
        what = f"is {type(transform).__name__}, which cannot be called with an image"
        raise ExciteError(what, where=where, exit_code=BAD_USAGE)
    return SeededTransform(name, transform)


def _seed_all(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        _cuda_generator(device).manual_seed(seed)
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])


@contextmanager
def _random_state_restored(device: torch.device) -> Iterator[None]:
    python, numpy, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = _cuda_generator(device).get_state() if device.type == "cuda" else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torch_state)
        if cuda is not None:
            _cuda_generator(device).set_state(cuda)


def _cuda_generator(device: torch.device) -> torch.Generator:
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]
