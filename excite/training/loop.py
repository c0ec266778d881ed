"""The training loop: epochs of steps, validation, checkpoints, and exact resume."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from excite.config.train_config import TrainConfig
from excite.data.batches import TrainingBatches, derive_seed
from excite.errors import ExciteError
from excite.models.weights import save_tensors
from excite.plugins.loading import import_flags
from excite.system.devices import autocast
from excite.system.progress import Display, Status
from excite.system.signals import StopRequest, stop_requests
from excite.system.text import command_line
from excite.system.world import World
from excite.tracking.hook import EpochEnd
from excite.tracking.hooks import Hooks
from excite.training.checkpoint import load_checkpoint, save_checkpoint
from excite.training.distributed import synchronize_batch_norm, wrap
from excite.training.finite_check import FiniteCheck
from excite.training.losses import build_loss
from excite.training.objective import ClassObjective, Objective
from excite.training.optimization import (
    AveragedModel,
    build_optimizer,
    freeze_layers,
    freeze_norms,
    learning_rate,
)
from excite.training.pace import Pace
from excite.training.state import Counters, TrainingState
from excite.training.trainable import train_only
from excite.training.validation import Validation

BEST = "best.safetensors"
MIN_AVERAGED = 20  # steps in the moving average at least: epochs of a small training set are short


class Trainer:
    """Trains a network; can be stopped after any step and resumed exactly.

    Args:
        model: the network, on ``device``; it is trained in place.
        batches: the training set, with ``parts`` = processes x ``config.accumulation_steps``.
        validation: the validation set.
        config: resolved options.
        folder: for checkpoints and ``best.safetensors``, the averaged weights of the best epoch.
        device: where the network computes.
        world: the processes that train together.
        display: the progress display.
        objective: the loss; None: cross-entropy with the label smoothing of ``config``.
        on_epoch: called by the first process after each epoch.
        hooks: told about steps and epochs, in the first process.
    """

    def __init__(  # noqa: PLR0913 (each is one property of the training)
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
        objective: Objective | None = None,
        on_epoch: Callable[[Counters], None] = lambda counters: None,
        hooks: Hooks | None = None,
    ) -> None:
        assert config.lr is not None
        assert config.weight_decay is not None
        assert config.layer_decay is not None
        self.batches, self.validation, self.config = batches, validation, config
        self.folder, self.device, self.world, self.display = folder, device, world, display
        self.peak, self.on_epoch = config.lr, on_epoch
        self.hooks = hooks if hooks is not None and world.first else Hooks()
        self.objective = objective or ClassObjective(
            build_loss(config, batches.classes, device, mixed=batches.mixes)
        )
        self.format = torch.channels_last if config.channels_last else torch.contiguous_format
        model = synchronize_batch_norm(model, world, device).to(memory_format=self.format)
        freeze_layers(model, config.frozen_layers or 0)
        train_only(model, config.train)
        optimizer = build_optimizer(
            model,
            config.optimizer,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            layer_decay=config.layer_decay,
        )
        average = AveragedModel(model, max(config.ema * batches.steps, MIN_AVERAGED) if config.ema else 0)
        scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        self.state = TrainingState(model, average, optimizer, scaler)
        compiled = cast(nn.Module, torch.compile(model)) if config.compile else model
        self.forward = wrap(compiled, world, device)
        self.pace = Pace(batches.batch_size)
        self._contention_shown = device.type != "cpu"  # elsewhere the thread waits for the device
        self._finite = FiniteCheck(steps=batches.steps, device=device, world=world, folder=folder)

    def resume(self) -> bool:
        """Load the newest checkpoint, if there is one; return whether there was."""
        checkpoint = load_checkpoint(self.folder)
        if checkpoint is not None:
            self.state.load(*checkpoint)
        return checkpoint is not None

    def run(self) -> Counters:
        """Train to the end.

        Raises:
            ExciteError: if a loss is not a finite number; and on Ctrl-C or SIGTERM, once the step is finished
                and a checkpoint written.
        """
        counters = self.state.counters
        with stop_requests(self._announce_stop) as request:
            while not counters.finished:
                self.prepare_epoch()
                while counters.step < self.batches.steps and self.progress < 1:
                    self._timed_step()
                    if self.display.due():
                        self.display.status(self._status())
                        self._show_contention()
                    self._stop_if_requested(request)
                began = time.perf_counter()
                with self._timed():
                    self._finish_epoch(request)
                self._stop_if_finished()
                self._tell_epoch()
                self.save()
                self.pace.end_epoch(time.perf_counter() - began)
                if self.world.first:
                    self.on_epoch(counters)
                self.display.epoch(counters.history[-1], counters.best_epoch == counters.epoch)
                self._stop_if_requested(request)
        return counters

    def prepare_epoch(self) -> None:
        """Put the network into training mode, except for batch norms that are frozen."""
        self.forward.train()
        if self.config.batch_norm == "frozen":
            freeze_norms(self.state.model)

    def train_step(self) -> None:
        """Forward and backward over this process's pieces of the batch, and one update."""
        counters, state, config = self.state.counters, self.state, self.config
        rate = learning_rate(self.progress, peak=self.peak, warmup=config.warmup)
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        sums = torch.zeros_like(state.sums)
        for piece in range(config.accumulation_steps):
            part = self.world.rank * config.accumulation_steps + piece
            images, targets = self.batches.load(counters.epoch, counters.step, part)
            torch.manual_seed(derive_seed(config.seed, counters.epoch, counters.step, part + 1))  # dropout
            with self._gradient_sync(last=piece == config.accumulation_steps - 1):
                with autocast(self.device, config.precision):
                    logits = self.forward(images.contiguous(memory_format=self.format))
                loss = self.objective.loss(logits, targets)
                torch.autograd.backward(state.scaler.scale(loss / config.accumulation_steps))
            sums += batch_statistics(loss, self.objective.correct(logits, targets))
        state.scaler.unscale_(state.optimizer)
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), config.grad_clip or math.inf)
        # A gradient scaler skips steps whose gradients are not finite.
        self._finite.add(self.steps_done + 1, sums[0] if state.scaler.is_enabled() else sums[0] + norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        state.average.update(self.steps_done + 1)
        state.sums += sums
        self._step_facts = (sums, norm, rate)

    def save(self) -> None:
        """Write a checkpoint; the other processes wait for the first, which writes it."""
        self._finite.validate()
        if self.world.first:
            save_checkpoint(self.folder, self.state.tensors(), self.state.facts())
        self.world.barrier()

    @property
    def steps_done(self) -> int:
        """Finished steps over all epochs."""
        return self.state.counters.epoch * self.batches.steps + self.state.counters.step

    @property
    def progress(self) -> float:
        """The finished fraction of the training, by steps or, with a time budget, by time if that is more."""
        counters, config = self.state.counters, self.config
        done = (counters.epoch + counters.step / self.batches.steps) / config.epochs
        if config.time_budget is not None:
            done = max(done, counters.seconds / (60 * config.time_budget))
        return min(done, 1.0)

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        """Add the time of the block to the counters; with a time budget, that of the slowest process."""
        began = time.perf_counter()
        yield
        spent = time.perf_counter() - began
        if self.config.time_budget is not None:
            spent = self.world.all_reduce_max([round(spent * 1e6)])[0] / 1e6
        self.state.counters.seconds += spent

    def _timed_step(self) -> None:
        began, processor = time.perf_counter(), time.thread_time()
        with self._timed():
            self.train_step()
            self.state.counters.step += 1
        self.pace.add(time.perf_counter() - began, time.thread_time() - processor)
        sums, norm, rate = self._step_facts
        images = self.batches.batch_size // self.world.size
        epoch = self.state.counters.epoch + 1
        self.hooks.step(
            epoch=epoch, step=self.steps_done, images=images, lr=rate, sums=sums, gradient_norm=norm
        )

    def _tell_epoch(self) -> None:
        counters = self.state.counters
        best = counters.best_epoch == counters.epoch
        self.hooks.epoch(EpochEnd(counters.epoch, self.steps_done, dict(counters.history[-1]), best))

    def _show_contention(self) -> None:
        """Say once that other programs use the processors."""
        if not self._contention_shown and (fraction := self.pace.processor_fraction()) is not None:
            self._contention_shown = True
            text = f"busy with other work: this training gets {fraction:.0%} of the time that it could use"
            self.display.fact("cores", text)

    def _announce_stop(self) -> None:
        self.display.fact("stopping", "finishing this step, then saving; once more stops at once")

    def _gradient_sync(self, last: bool) -> contextlib.AbstractContextManager[object]:
        """Average gradients over the processes once per step, with the last piece."""
        if isinstance(self.forward, DistributedDataParallel) and not last:
            return self.forward.no_sync()
        return contextlib.nullcontext()

    def _stop_if_requested(self, request: StopRequest) -> None:
        [exit_code] = self.world.all_reduce_max([request.exit_code])
        if exit_code:
            self.save()
            counters = self.state.counters
            steps = f"{counters.step} step{'s' * (counters.step != 1)}"
            flags = import_flags(self.config.imports)
            resume = command_line("excite", "train", "--resume", "--out", self.folder.parent, *flags)
            raise ExciteError(
                f"stopped in epoch {counters.epoch + 1} after {steps}, with a checkpoint",
                hint=f"continue with: {resume}",
                exit_code=exit_code,
            )

    def _status(self) -> Status:
        counters = self.state.counters
        loss, correct, images = self.state.sums.tolist()
        return Status(
            epoch=counters.epoch + 1,
            epochs=self.config.epochs,
            step=counters.step,
            steps=self.batches.steps,
            loss=loss / images,
            accuracy=correct / images,
            images_per_second=self.pace.images_per_second,
            seconds_left=self._seconds_left(),
        )

    def _seconds_left(self) -> float | None:
        steps = self.config.epochs * self.batches.steps - self.steps_done
        left = self.pace.seconds_left(steps, self.config.epochs - self.state.counters.epoch)
        if left is not None and self.config.time_budget is not None:
            left = min(left, max(0.0, 60 * self.config.time_budget - self.state.counters.seconds))
        return left

    def _finish_epoch(self, request: StopRequest) -> None:
        """Evaluate the averaged model, add a row to the history, and save weights that are the best.

        Raises: ExciteError for a request to stop, between two batches; resuming repeats the evaluation.
        """
        counters, state = self.state.counters, self.state
        self.world.broadcast_buffers(state.average.model)
        val_loss, val_accuracy = self.validation.evaluate(
            state.average.model,
            device=self.device,
            precision=self.config.precision,
            world=self.world,
            progress=lambda *_: None if self.world.size > 1 else self._stop_if_requested(request),
        )
        loss, correct, images = self.world.all_reduce_sum(state.sums.clone()).tolist()
        earlier = counters.history[-1]["seconds"] if counters.history else 0.0
        counters.history.append(
            {
                "epoch": counters.epoch + 1,
                "train_loss": loss / images,
                "train_accuracy": correct / images,
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

    def _stop_if_finished(self) -> None:
        counters, config = self.state.counters, self.config
        if counters.epoch >= config.epochs:
            counters.finished = "all epochs are done"
        elif self.progress >= 1:
            counters.finished = "the time budget is used up"
        elif config.patience and counters.epoch - counters.best_epoch >= config.patience:
            counters.finished = f"no improvement in {config.patience} epochs"


def batch_statistics(loss: Tensor, correct: Tensor) -> Tensor:
    """(3,) sums over a batch: of the loss, of correct predictions (N,), and of images."""
    images = torch.full_like(loss, len(correct))
    return torch.stack([loss.detach() * images, correct.sum().to(loss.dtype), images])
