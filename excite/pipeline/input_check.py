"""Check that a network can be trained on images of the configured size, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from excite.attention.parts import BatchNorm as AttentionNorm
from excite.config.train_config import TrainConfig
from excite.errors import BAD_USAGE, ExciteError
from excite.system.evaluation_mode import evaluating

LARGEST_TRIED = 512  # pixels; networks that need more are made for one size


def check_input(model: nn.Module, config: TrainConfig, classes: int, *, processes: int = 1) -> None:
    """Run one image of the configured size through the network, which does not change.

    Args:
        model: on the CPU.
        config: resolved options.
        processes: among which a batch is divided.

    Raises:
        ExciteError: if the network cannot process images of this size, returns anything but one score per
            class, or would normalize a single value per channel in a training step.
    """
    size = config.image_size
    assert size is not None
    with _observed(model) as values:
        try:
            scores = _scores(model, size)
        except Exception as error:  # libraries raise different exceptions for small images
            raise _wrong_size(model, config.model, size, error) from error
    if not isinstance(scores, Tensor) or tuple(scores.shape) != (1, classes):
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        what = f"is not a classifier: for one image it returns {shape}, not (1, {classes}) class scores"
        raise ExciteError(what, where=config.model, exit_code=BAD_USAGE)
    piece = config.batch_size // (processes * config.accumulation_steps)
    if config.recipe != "probe" and config.batch_norm != "frozen" and piece == 1:
        alone = next((path for path, count in values.items() if count == 1), None)
        if alone is not None:
            what = f"each step would normalize a single value per channel (in {alone}): "
            what += f"{config.batch_size} images are divided among {processes} processes x "
            what += f"{config.accumulation_steps} accumulated pieces"
            hint = (
                "use at least 2 images per piece with --batch-size or --accumulation-steps, or larger images"
            )
            raise ExciteError(what, where="batch_size", hint=hint, exit_code=BAD_USAGE)


@contextmanager
def _observed(model: nn.Module) -> Iterator[dict[str, int]]:
    """In evaluation mode: how many values per channel of one image each batch norm sees, by its path."""
    values: dict[str, int] = {}
    handles = []
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, AttentionNorm):

            def note(_module: nn.Module, given: tuple[Tensor, ...], path: str = path) -> None:
                values[path] = given[0][0, 0].numel()

            handles.append(module.register_forward_pre_hook(note))
    try:
        with evaluating(model):
            yield values
    finally:
        for handle in handles:
            handle.remove()


def _scores(model: nn.Module, size: int) -> object:
    parameter = next(model.parameters())
    with torch.no_grad():
        return model(torch.zeros(1, 3, size, size, dtype=parameter.dtype, device=parameter.device))


def _wrong_size(model: nn.Module, name: str, size: int, error: Exception) -> ExciteError:
    """The smallest size above this one that works, found by halving; or the library's own reason."""
    works = next((side for side in _sizes_above(size) if _runs(model, side)), None)
    if works is None:
        reason = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
        what = f"cannot process images of {size} x {size} pixels: {reason}"
        return ExciteError(what, where=name, hint="choose another --image-size", exit_code=BAD_USAGE)
    fails = size
    while works - fails > 1:
        middle = (works + fails) // 2
        if _runs(model, middle):
            works = middle
        else:
            fails = middle
    what = f"cannot process images of {size} x {size} pixels: it needs at least {works}"
    return ExciteError(what, where=name, hint=f"add --image-size {works}", exit_code=BAD_USAGE)


def _sizes_above(size: int) -> Iterator[int]:
    while size < LARGEST_TRIED:
        size = min(2 * size, LARGEST_TRIED)
        yield size
    yield from (224, 256, 299, 384)  # of networks that are made for one size


def _runs(model: nn.Module, size: int) -> bool:
    with suppress(Exception):
        _scores(model, size)
        return True
    return False
