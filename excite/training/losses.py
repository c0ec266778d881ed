"""Losses by name: cross-entropy, and those of plug-ins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.config.train_config import TrainConfig
from excite.errors import BAD_USAGE, ExciteError, refuse_unknown_options
from excite.plugins.registry import get, register_built_in
from excite.training.optimization import classification_loss

CROSS_ENTROPY = "cross_entropy"
Loss = Callable[[Tensor, Tensor], Tensor]


def build_loss(
    config: TrainConfig,
    classes: int,
    device: torch.device,
    weights: Tensor | None = None,
    *,
    mixed: bool = False,
) -> Loss:
    """The loss of a training, a function of logits (N, C) and targets that returns a scalar.

    Targets are (N,) class indices or (N, C) probabilities.

    Args:
        config: resolved options.
        classes: number of classes.
        weights: (C,) class weights; their mean over the training images is 1.
        mixed: whether augmentation mixes images, so that targets are probabilities.

    Raises:
        ExciteError: for an unknown name or option, and for a loss that cannot be built or called.
    """
    if config.loss == CROSS_ENTROPY:
        refuse_unknown_options(cross_entropy, config.loss_options, where="loss_options")
        return partial(classification_loss, smoothing=config.label_smoothing, weights=weights)
    loss = PluginLoss(config.loss, config.loss_options, smoothing=config.label_smoothing, weights=weights)
    loss.move(device)
    loss.check(classes, device, mixed=mixed)
    return loss


class PluginLoss:
    """The loss of a plug-in, with label smoothing and class weights.

    Labels are smoothed in the targets, which then are probabilities. The loss of an image is multiplied by
    the weight of its class, or by the mean weight under its probabilities.

    Args:
        name: of a registered loss.
        options: of its factory.
        smoothing: label smoothing.
        weights: (C,) class weights.

    Raises:
        ExciteError: for an unknown name or option, and for a loss that cannot be built or has parameters.
    """

    def __init__(
        self, name: str, options: dict[str, Any], *, smoothing: float = 0.0, weights: Tensor | None = None
    ) -> None:
        factory = get("loss", name).factory
        self._where = f"loss {name!r}"
        refuse_unknown_options(factory, options, where=self._where)
        try:
            self._function = factory(**options)
        except Exception as error:
            raise self._failed("could not be built", error) from error
        if not callable(self._function):
            what = f"is {type(self._function).__name__}, which cannot be called with logits and targets"
            raise ExciteError(what, where=self._where, exit_code=BAD_USAGE)
        if isinstance(self._function, nn.Module) and any(True for _ in self._function.parameters()):
            what = "has parameters, which training would not change"
            raise ExciteError(what, where=self._where, hint="put them into the network", exit_code=BAD_USAGE)
        self._smoothing, self._weights = smoothing, weights

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, C) and targets -> a scalar. Raises: ExciteError unless there is one loss per image."""
        logits = logits.float()
        classes = logits.shape[1]
        if self._smoothing:
            targets = _probabilities(targets, classes)
            targets = (1 - self._smoothing) * targets + self._smoothing / classes
        losses = self._function(logits, targets)
        if not isinstance(losses, Tensor) or losses.shape != logits.shape[:1]:
            shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            what = f"returns {shape} for {len(logits)} images, not ({len(logits)},)"
            hint = "return the loss of each image, as reduction='none' does"
            raise ExciteError(what, where=self._where, hint=hint, exit_code=BAD_USAGE)
        if self._weights is not None:
            losses = losses * (
                self._weights[targets]
                if targets.ndim == 1
                else targets.to(self._weights.dtype) @ self._weights
            )
        return losses.mean()

    def move(self, device: torch.device) -> None:
        """Move the buffers of a loss that is a module."""
        if isinstance(self._function, nn.Module):
            self._function.to(device)

    def check(self, classes: int, device: torch.device, *, mixed: bool) -> None:
        """Raises: ExciteError for a loss that fails, is not finite, or has no gradient."""
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(classes, classes, generator=generator).to(device).requires_grad_()
        targets = torch.arange(classes, device=device)
        try:
            loss = self(logits, _probabilities(targets, classes) if mixed else targets)
        except ExciteError:
            raise
        except Exception as error:
            raise self._failed("failed", error) from error
        if not loss.requires_grad or not torch.isfinite(loss):
            what = "is not finite" if loss.requires_grad else "has no gradient"
            raise ExciteError(what, where=self._where, exit_code=BAD_USAGE)

    def _failed(self, what: str, error: Exception) -> ExciteError:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return ExciteError(f"{what}: {reason}", where=self._where, exit_code=BAD_USAGE)


def cross_entropy() -> Loss:
    """Cross-entropy of each image, as a plug-in would register it."""
    return partial(F.cross_entropy, reduction="none")


def _probabilities(targets: Tensor, classes: int) -> Tensor:
    return F.one_hot(targets, classes).float() if targets.ndim == 1 else targets


register_built_in("loss", __name__, [(CROSS_ENTROPY, cross_entropy)])
