"""What a training minimizes: a loss of one class per image, or of several labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from excite.training.optimization import classification_loss


class Objective(ABC):
    """A loss, and how many predictions are right.

    Targets are (N,) class indices or (N, C) probabilities; of several labels (N, L) numbers between 0 and 1,
    NaN where the value is unknown.
    """

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The training loss, averaged over images; a float32 scalar."""

    @abstractmethod
    def correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(N,) the fraction of correct predictions of each image: 0 or 1, or over its known labels."""

    @abstractmethod
    def log_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(N,) the log loss of each image, without smoothing and weights."""

    @abstractmethod
    def log_loss(self, logits: Tensor, targets: Tensor) -> float:
        """The log loss of a validation set, without smoothing and weights."""


@dataclass(frozen=True, eq=False)
class ClassObjective(Objective):
    """One class per image.

    Args:
        function: the training loss, a function of logits and targets; by default the cross-entropy.
    """

    function: Callable[[Tensor, Tensor], Tensor] = classification_loss

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.function(logits, targets)

    def correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        truth = targets if targets.ndim == 1 else targets.argmax(dim=1)
        return logits.argmax(dim=1) == truth

    def log_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, reduction="none")

    def log_loss(self, logits: Tensor, targets: Tensor) -> float:
        return float(F.cross_entropy(logits, targets))


@dataclass(frozen=True, eq=False)
class LabelObjective(Objective):
    """Binary cross-entropy of several labels per image; unknown values take no part.

    The sum over the known values of an image is divided by the number of all labels times the fraction of
    known values in the training set, not by the known values of the batch, so that the mean over processes
    and accumulation steps equals that of the whole batch.

    Args:
        known: fraction of the values of the training set that are known, in (0, 1].
        smoothing: label smoothing: the targets become s / 2 and 1 - s / 2.
        weights: (L, 2) weights of the values 0 and 1 of each label, with mean 1 over its known values; None:
            equal.

    Example:
        >>> objective = LabelObjective(known=0.75)
        >>> logits, targets = torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [torch.nan, 1.0]])
        >>> round(float(objective.loss(logits, targets)), 4)  # log 2
        0.6931
    """

    known: float = 1.0
    smoothing: float = 0.0
    weights: Tensor | None = None

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        is_known = ~targets.isnan()
        smooth = torch.where(is_known, targets, 0) * (1 - self.smoothing) + self.smoothing / 2
        absent = present = None
        if self.weights is not None:
            absent, present = self.weights[:, 0], self.weights[:, 1] / self.weights[:, 0]
        losses = F.binary_cross_entropy_with_logits(
            logits.float(), smooth, weight=absent, pos_weight=present, reduction="none"
        )
        return torch.where(is_known, losses, 0).mean() / self.known

    def correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        is_known = ~targets.isnan()
        right = ((logits > 0) == (targets > 0.5)) & is_known
        return right.sum(dim=1) / is_known.sum(dim=1).clamp(min=1)

    def log_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        losses, is_known = self._losses(logits, targets)
        return losses.sum(dim=1) / is_known.sum(dim=1).clamp(min=1)

    def log_loss(self, logits: Tensor, targets: Tensor) -> float:
        """The mean over labels of the log loss of their known values."""
        losses, is_known = self._losses(logits, targets)
        counts = is_known.sum(dim=0)
        return float((losses.sum(dim=0)[counts > 0] / counts[counts > 0]).mean())

    def _losses(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        is_known = ~targets.isnan()
        truth = torch.where(is_known, targets, 0)
        losses = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
        return torch.where(is_known, losses, 0), is_known


def label_targets(values: np.ndarray) -> np.ndarray:
    """(N, L) values 1, 0, and -1 (unknown) as float32 with NaN for unknown ones, as an objective takes them.

    >>> label_targets(np.array([[1, 0], [0, -1]])).tolist()
    [[1.0, 0.0], [0.0, nan]]
    """
    return np.where(values < 0, np.nan, values).astype(np.float32)
