"""Images from files, folders, and memory as what a classifier reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from excite.data.archives import image_folder
from excite.data.folders import find_images
from excite.errors import BAD_USAGE, ExciteError

ImageInput = str | Path | Image.Image | np.ndarray | torch.Tensor
"""An image file, a folder or an archive of them, a PIL image, or pixels of one or several images."""

CHANNELS = (1, 3, 4)  # gray, RGB, RGB and opacity


def single_images(images: ImageInput | Iterable[ImageInput]) -> list[ImageInput]:
    """One entry per image, in order: folders and batches become their images.

    Args:
        images: an input or several. Arrays are (H, W), (H, W, C), (N, H, W), or (N, H, W, C); tensors are
            (H, W), (C, H, W), (N, H, W), or (N, C, H, W); C is 1, 3, or 4. Three dimensions are one image if
            the axis of the channels has one of these sizes.

    Raises:
        ExciteError: for another shape or type, and for a folder without images.

    >>> len(single_images(np.zeros((5, 28, 28), np.uint8)))
    5
    """
    if isinstance(images, torch.Tensor):
        return [*_unstacked(images, channels=-3)]
    if isinstance(images, np.ndarray):
        return [*_unstacked(images, channels=-1)]
    if isinstance(images, Image.Image):
        return [images]
    if isinstance(images, str | Path):
        folder = image_folder(Path(images))
        return [images] if folder is None else _files_of(folder)
    if not isinstance(images, Iterable):
        what = f"cannot classify {type(images).__name__}"
        hint = "pass a path, a folder, a PIL image, an array, a tensor, or several of them"
        raise ExciteError(what, hint=hint, exit_code=BAD_USAGE)
    return [each for one in images for each in single_images(one)]


def to_image(pixels: np.ndarray | torch.Tensor, *, deep: bool = False) -> Image.Image:
    """The PIL image of the pixels of one image.

    Args:
        pixels: uint8, or floating-point numbers between 0 and 1, in a shape of ``single_images``.
        deep: whether the classifier knows the range of samples with more than 8 bits, which (H, W) may then
            have.

    Raises:
        ExciteError: for other values.

    >>> to_image(torch.ones(3, 4, 6)).size
    (6, 4)
    """
    if isinstance(pixels, torch.Tensor):
        array = pixels.detach().cpu().float() if pixels.is_floating_point() else pixels.detach().cpu()
        samples = array.numpy() if array.ndim == 2 else array.movedim(0, -1).numpy()
    else:
        samples = pixels
    samples = samples[..., 0] if samples.ndim == 3 and samples.shape[2] == 1 else samples
    if samples.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(samples))
    if deep and samples.ndim == 2 and samples.dtype != bool:
        kind = np.float32 if np.issubdtype(samples.dtype, np.floating) else np.int32
        return Image.fromarray(np.ascontiguousarray(samples, dtype=kind))
    if not np.issubdtype(samples.dtype, np.floating):
        what, hint = f"pixels are {samples.dtype}", "use uint8, or floating-point numbers between 0 and 1"
        raise ExciteError(what, where="images", hint=hint, exit_code=BAD_USAGE)
    low, high = float(samples.min()), float(samples.max())
    if not (low >= 0 and high <= 1):  # also if one is not a number
        what = f"floating-point pixels must be between 0 and 1, got {low:g} to {high:g}"
        hint = "divide by 255, and do not normalize: the classifier does"
        raise ExciteError(what, where="images", hint=hint, exit_code=BAD_USAGE)
    return Image.fromarray((255 * samples).round().astype(np.uint8))


def _unstacked(pixels: np.ndarray | torch.Tensor, channels: int) -> list[np.ndarray | torch.Tensor]:
    """The images of a batch, or the one image; ``channels`` is the axis of the channels."""
    shape = tuple(pixels.shape)
    has_channels = len(shape) >= 3 and shape[channels] in CHANNELS
    if len(shape) == 2 or (len(shape) == 3 and has_channels):
        return [pixels]
    if len(shape) == 3 or (len(shape) == 4 and has_channels):
        return [*pixels]
    layout = "(N, C, H, W)" if channels == -3 else "(N, H, W, C)"
    what = f"cannot classify {'a tensor' if channels == -3 else 'an array'} of shape {shape}"
    hint = f"use {layout} with 1, 3, or 4 channels, or one image of it"
    raise ExciteError(what, where="images", hint=hint, exit_code=BAD_USAGE)


def _files_of(folder: Path) -> list[ImageInput]:
    images = find_images(folder, any_name=True).images
    if not images:
        raise ExciteError("the folder holds no images", where=folder, exit_code=BAD_USAGE)
    return [*images]
