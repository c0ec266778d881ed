"""Hook: a look at a training while it runs, and what it is told. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainingStart:
    """A training that starts or is resumed.

    Args:
        run: the run folder.
        options: all options of ``TrainConfig`` by name, resolved.
        steps: optimizer steps per epoch; 0 for a linear probe, which has neither steps nor epochs.
        step: finished steps over all epochs; 0 unless it is resumed.
        history: the records of the finished epochs, as in ``EpochEnd.record``; empty unless it is resumed.
        resumed: whether it was begun before.
    """

    run: Path
    options: Mapping[str, Any]
    steps: int
    step: int
    history: Sequence[Mapping[str, float]]
    resumed: bool


@dataclass(frozen=True)
class StepEnd:
    """A finished optimizer step.

    Args:
        epoch: the epoch that the step belongs to, from 1.
        step: number of the step over all epochs, from 1.
        images: images of this process in the step; their number, without those of other processes.
        lr: peak learning rate of the step; layers near the input may have less.
        values: called once, with the loss, the accuracy in [0, 1], and the norm of the gradient before it is
            clipped; on an accelerator, this waits for the device.
    """

    epoch: int
    step: int
    images: int
    lr: float
    values: Callable[[], tuple[float, float, float]] = field(repr=False)

    @property
    def loss(self) -> float:
        """Mean loss of the images."""
        return self.values()[0]

    @property
    def accuracy(self) -> float:
        """Fraction of the images, as augmented, that are classified correctly, in [0, 1]."""
        return self.values()[1]

    @property
    def gradient_norm(self) -> float:
        """Norm of the gradient of all parameters, before it is clipped."""
        return self.values()[2]


@dataclass(frozen=True)
class EpochEnd:
    """A finished epoch, with its validation.

    Args:
        epoch: number of the epoch, from 1.
        step: finished steps over all epochs.
        record: the row of ``metrics.csv``: ``epoch``, ``train_loss``, ``train_accuracy``, ``val_loss`` (mean
            log loss), ``val_accuracy``, ``lr``, ``images_per_second``, and ``seconds`` of training so far;
            accuracies are in [0, 1].
        best: whether its weights are the best so far.
    """

    epoch: int
    step: int
    record: Mapping[str, float]
    best: bool


@dataclass(frozen=True)
class TrainingEnd:
    """A training that has ended, or was stopped or has failed.

    Args:
        status: ``finished`` if the classifier was written and evaluated; ``stopped`` by a signal, with a
            checkpoint; ``failed``.
        reason: why it was stopped or has failed; "" if it finished.
        step: finished steps over all epochs.
        metrics: as ``Run.metrics``: split -> metric -> ``{"value", "low", "high"}``; empty unless finished.
    """

    status: str
    reason: str
    step: int
    metrics: Mapping[str, Any]


class Hook:
    """Base class of hooks, which are told how a training goes: override what you need.

    Hooks are called by the first process only. They get copies: nothing that a hook does with them changes
    the training, whose random draws are seeded at each step. A hook that raises an exception is named in one
    warning, and not called again; the training goes on. If a training is killed and resumed, the last epoch
    may be reported a second time.

    Example:
        >>> class Losses(Hook):
        ...     def __init__(self) -> None:
        ...         self.seen: list[float] = []
        ...
        ...     def on_epoch(self, epoch: EpochEnd) -> None:
        ...         self.seen.append(epoch.record["val_loss"])
        >>> losses = Losses()
        >>> import excite
        >>> options = {"model": "cifar_resnet20", "image_size": 32, "epochs": 2, "device": "cpu"}
        >>> run = excite.train(photos, hooks=[losses], quiet=True, **options)
        >>> len(losses.seen)
        2
    """

    step_interval = 1
    """``on_step`` is called after every step whose number is a multiple of this."""

    def on_start(self, start: TrainingStart) -> None:
        """Before the first step, or the first one after a resume."""

    def on_step(self, step: StepEnd) -> None:
        """After an optimizer step."""

    def on_epoch(self, epoch: EpochEnd) -> None:
        """After the validation of an epoch, before its checkpoint is written."""

    def on_end(self, end: TrainingEnd) -> None:
        """After the metrics are written, or when the training is stopped or fails."""
