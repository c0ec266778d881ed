"""The training loop."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from excite.config.train_config import TrainConfig
from excite.data.batches import TrainingBatches, derive_seed
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.errors import ExciteError
from excite.inference.predict import predict_logits
from excite.models.weights import save_tensors
from excite.system.devices import autocast
from excite.system.progress import Display, Status
from excite.system.signals import StopRequest, stop_requests
from excite.system.text import command_line
from excite.system.world import World
from excite.training.checkpoint import load_checkpoint, save_checkpoint
from excite.training.distributed import synchronize_batch_norm, wrap
from excite.training.optimization import (
    AveragedModel,
    build_optimizer,
    classification_loss,
    freeze_norms,
    learning_rate,
)
from excite.training.state import Counters, TrainingState

BEST = "best.safetensors"
LEAST_AVERAGED = 20  # steps that the averaged weights reach back at least: a small set's epochs are short
LOOK_EVERY = 16  # steps between two looks at the losses: on a GPU each look waits for it


@dataclass(frozen=True)
class Validation:
    """What the averaged model is measured on after each epoch: N images, targets (N,)."""

    source: PixelSubset
    targets: np.ndarray
    preprocessing: Preprocessing


class Trainer:
    """One training, from where its checkpoints left it.

    Args:
        model: the network, on ``device``; it is trained in place.
        batches: the training set, made with ``parts`` = processes x ``config.accumulation_steps``.
        validation: the validation set.
        config: options, settled: rates and decays are numbers, ``precision`` is none of ``auto``.
        folder: where checkpoints go, among them ``best.safetensors``, the averaged weights of the best epoch.
        class_weights: (C,) weights of the loss, with mean 1 over the training set.
        on_epoch: called by the first process after each epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: TrainingBatches,
        validation: Validation,
        config: TrainConfig,
        *,
        folder: Path,
        device: torch.device,
        world: World,
        display: Display,
        class_weights: Tensor | None = None,
        on_epoch: Callable[[Counters], None] = lambda counters: None,
    ) -> None:
        assert config.lr is not None
        assert config.weight_decay is not None
        assert config.layer_decay is not None
        self.batches, self.validation, self.config = batches, validation, config
        self.folder, self.device, self.world, self.display = folder, device, world, display
        self.peak, self.class_weights, self.on_epoch = config.lr, class_weights, on_epoch
        self.format = torch.channels_last if config.channels_last else torch.contiguous_format
        model = synchronize_batch_norm(model, world, device).to(memory_format=self.format)
        optimizer = build_optimizer(
            model,
            config.optimizer,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            layer_decay=config.layer_decay,
        )
        average = AveragedModel(model, max(config.ema * batches.steps, LEAST_AVERAGED) if config.ema else 0)
        scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        self.state = TrainingState(model, average, optimizer, scaler)
        compiled = cast(nn.Module, torch.compile(model)) if config.compile else model
        self.forward = wrap(compiled, world, device)
        self._unchecked: list[tuple[int, Tensor]] = []  # step and loss

    def resume(self) -> bool:
        """Take up the newest checkpoint, if there is one."""
        found = load_checkpoint(self.folder)
        if found is not None:
            self.state.load(*found)
        return found is not None

    def run(self) -> Counters:
        """Train to the end.

        Raises: ExciteError on a loss that is not a finite number; and on Ctrl-C or SIGTERM, after the step is
        finished and the checkpoint written.
        """
        counters = self.state.counters
        with stop_requests() as request:
            while not counters.finished:
                self.forward.train()
                if self.config.batch_norm == "frozen":
                    freeze_norms(self.state.model)
                while counters.step < self.batches.steps and self.progress < 1:
                    with self._timed():
                        self.train_step()
                        counters.step += 1
                    if self.display.due():
                        self.display.status(self._status())
                    self._stop_if_asked(request)
                with self._timed():
                    self._finish_epoch()
                self._decide_end()
                self.save()
                if self.world.first:
                    self.on_epoch(counters)
                self.display.epoch(counters.history[-1], counters.best_epoch == counters.epoch)
                self._stop_if_asked(request)
        return counters

    def train_step(self) -> None:
        """Forward and backward over the pieces of this process's share of the batch, and one update."""
        counters, state, config = self.state.counters, self.state, self.config
        rate = learning_rate(self.progress, peak=self.peak, warmup=config.warmup)
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        sums = torch.zeros_like(state.sums)
        for piece in range(config.accumulation_steps):
            part = self.world.rank * config.accumulation_steps + piece
            images, targets = self.batches.load(counters.epoch, counters.step, part)
            torch.manual_seed(derive_seed(config.seed, counters.epoch, counters.step, part + 1))  # dropout
            with self._gradients_shared(last=piece == config.accumulation_steps - 1):
                with autocast(self.device, config.precision):
                    logits = self.forward(images.contiguous(memory_format=self.format))
                loss = classification_loss(
                    logits, targets, smoothing=config.label_smoothing, weights=self.class_weights
                )
                torch.autograd.backward(state.scaler.scale(loss / config.accumulation_steps))
            sums += batch_statistics(loss, logits, targets)
        state.scaler.unscale_(state.optimizer)
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), config.grad_clip or math.inf)
        self._note_for_validation(
            sums[0] if state.scaler.is_enabled() else sums[0] + norm
        )  # a scaler skips bad gradients
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        state.average.update(counters.epoch * self.batches.steps + counters.step + 1)
        state.sums += sums

    def save(self) -> None:
        """Write the checkpoint; other processes wait for the first one's."""
        self._validate_finite()
        if self.world.first:
            save_checkpoint(self.folder, self.state.tensors(), self.state.facts())
        self.world.barrier()

    @property
    def progress(self) -> float:
        """Share of the training that is done: by steps or, with a time budget, by time if that is further."""
        counters, config = self.state.counters, self.config
        done = (counters.epoch + counters.step / self.batches.steps) / config.epochs
        if config.time_budget is not None:
            done = max(done, counters.seconds / (60 * config.time_budget))
        return min(done, 1.0)

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        """Add the block's time to the counters; all processes go by the slowest one's clock."""
        began = time.perf_counter()
        yield
        spent = time.perf_counter() - began
        if self.config.time_budget is not None:
            spent = self.world.all_reduce_max([round(spent * 1e6)])[0] / 1e6
        self.state.counters.seconds += spent

    def _gradients_shared(self, last: bool) -> contextlib.AbstractContextManager[object]:
        """Average gradients over the processes once a step, with the last piece."""
        if isinstance(self.forward, DistributedDataParallel) and not last:
            return self.forward.no_sync()
        return contextlib.nullcontext()

    def _note_for_validation(self, value: Tensor) -> None:
        """Note a number that must be finite; look at those noted when it is time."""
        step = self.state.counters.epoch * self.batches.steps + self.state.counters.step + 1
        self._unchecked.append((step, value.detach()))
        if len(self._unchecked) >= (1 if self.device.type == "cpu" else LOOK_EVERY):
            self._validate_finite()

    def _validate_finite(self) -> None:
        if not self._unchecked:
            return
        finite = torch.isfinite(torch.stack([value for _, value in self._unchecked])).tolist()
        first_bad = min(
            (step for (step, _), good in zip(self._unchecked, finite, strict=True) if not good), default=0
        )
        [step] = self.world.all_reduce_max([first_bad])
        if step:
            raise ExciteError(
                f"loss or gradient is not a finite number at step {step}",
                where=f"epoch {(step - 1) // self.batches.steps + 1}",
                hint=f"the last good checkpoint is kept in {self.folder}; "
                "a smaller --lr or --precision float32 may help",
            )
        self._unchecked.clear()

    def _stop_if_asked(self, request: StopRequest) -> None:
        [exit_code] = self.world.all_reduce_max([request.exit_code])
        if exit_code:
            self.save()
            counters = self.state.counters
            resume = command_line("excite", "train", "--resume", "--out", self.folder.parent)
            raise ExciteError(
                f"stopped after {counters.epoch} epochs and {counters.step} steps; nothing is lost",
                hint=f"go on with: {resume}",
                exit_code=exit_code,
            )

    def _status(self) -> Status:
        counters = self.state.counters
        loss, right, images = self.state.sums.tolist()
        done = counters.epoch * self.batches.steps + counters.step
        return Status(
            epoch=counters.epoch + 1,
            epochs=self.config.epochs,
            step=counters.step,
            steps=self.batches.steps,
            loss=loss / images,
            accuracy=right / images,
            images_per_second=done * self.batches.batch_size / counters.seconds,
            seconds_left=counters.seconds * (1 - self.progress) / self.progress,
        )

    def _finish_epoch(self) -> None:
        """Measure the averaged model, add a row to the history, keep the weights if they are the best."""
        counters, state = self.state.counters, self.state
        self.world.broadcast_buffers(state.average.model)
        logits = predict_logits(
            state.average.model,
            self.validation.source,
            self.validation.preprocessing,
            device=self.device,
            precision=self.config.precision,
            world=self.world,
        )
        targets = self.validation.targets
        val_loss = float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets)))
        val_accuracy = float((logits.argmax(axis=1) == targets).mean())
        loss, right, images = self.world.all_reduce_sum(state.sums.clone()).tolist()
        earlier = counters.history[-1]["seconds"] if counters.history else 0.0
        counters.history.append(
            {
                "epoch": counters.epoch + 1,
                "train_loss": loss / images,
                "train_accuracy": right / images,
                "val_loss": val_loss,
                "val_accuracy": val_accuracy,
                "lr": state.optimizer.param_groups[-1]["lr"],
                "images_per_second": images / (counters.seconds - earlier),
                "seconds": counters.seconds,
            }
        )
        counters.epoch, counters.step = counters.epoch + 1, 0
        state.sums.zero_()
        score = [val_accuracy, -val_loss]
        score = score[::-1] if self.config.monitor == "loss" else score
        if score > counters.best_score:
            counters.best_score, counters.best_epoch = score, counters.epoch
            if self.world.first:
                save_tensors(self.folder / BEST, state.average.model.state_dict())

    def _decide_end(self) -> None:
        counters, config = self.state.counters, self.config
        if counters.epoch >= config.epochs:
            counters.finished = "all epochs done"
        elif self.progress >= 1:
            counters.finished = "time budget spent"
        elif config.patience and counters.epoch - counters.best_epoch >= config.patience:
            counters.finished = f"no better epoch in {config.patience}"


def batch_statistics(loss: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """(3,): loss times images, right answers and images of a batch, to be summed up."""
    truth = targets if targets.ndim == 1 else targets.argmax(dim=1)
    right = (logits.argmax(dim=1) == truth).sum()
    images = torch.full_like(loss, len(targets))
    return torch.stack([loss.detach() * images, right.to(loss.dtype), images])
