"""Calls the hooks of a training, and goes on without those that fail."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from excite.errors import BAD_USAGE, INTERRUPTED, TERMINATED, ExciteError, ExciteWarning
from excite.plugins.registry import get, register_built_in
from excite.tracking.hook import EpochEnd, Hook, StepEnd, TrainingEnd, TrainingStart
from excite.tracking.mlflow import MLflow
from excite.tracking.tensorboard import TensorBoard

register_built_in("hook", __name__, [("tensorboard", TensorBoard), ("mlflow", MLflow)])


def create_hooks(names: Sequence[str]) -> list[Hook]:
    """The hooks of these names.

    Raises:
        ExciteError: for an unknown name, and a hook that cannot be created, such as one whose library is not
            installed.
    """
    hooks = []
    for name in names:
        factory = get("hook", name).factory
        where = f"--track {name}"
        try:
            hook = factory()
        except ExciteError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise ExciteError(f"cannot be created: {reason}", where=where, exit_code=BAD_USAGE) from error
        if not isinstance(hook, Hook):
            what, hint = f"is {type(hook).__name__}, not a hook", "derive it from excite.Hook"
            raise ExciteError(what, where=where, hint=hint, exit_code=BAD_USAGE)
        hooks.append(hook)
    return hooks


class Hooks:
    """The hooks of one training; without hooks, every call does nothing.

    Args:
        hooks: called in this order.
        resumed: whether the training was begun before.
    """

    def __init__(self, hooks: Sequence[Hook] = (), *, resumed: bool = False) -> None:
        self._hooks = list(hooks)
        self._resumed = resumed
        self._started = False
        self._step = 0

    def start(
        self,
        run: Path,
        options: Mapping[str, Any],
        steps: int = 0,
        step: int = 0,
        history: Sequence[Mapping[str, float]] = (),
    ) -> None:
        """Call ``on_start``; the arguments are those of ``TrainingStart``."""
        self._started, self._step = True, step
        rows = [dict(row) for row in history]
        self._call("on_start", TrainingStart(run, dict(options), steps, step, rows, self._resumed))

    def step(
        self, *, epoch: int, step: int, images: int, lr: float, sums: Tensor, gradient_norm: Tensor
    ) -> None:
        """Call ``on_step`` of the hooks whose turn it is.

        Args:
            sums: (3,) of the step: loss, correct predictions, and images.
        """
        self._step = step
        due = [hook for hook in self._hooks if _watches_steps(hook) and step % hook.step_interval == 0]
        if due:
            end = StepEnd(epoch, step, images, lr, _values(sums, gradient_norm))
            self._call("on_step", end, due)

    def epoch(self, end: EpochEnd) -> None:
        """Call ``on_epoch``."""
        self._step = end.step
        self._call("on_epoch", end)

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Call ``on_end`` of a training that has finished."""
        self._end("finished", "", metrics)

    @contextmanager
    def ended_by_errors(self) -> Iterator[None]:
        """Call ``on_end`` if the block, a training, is stopped or fails."""
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            if isinstance(error, ExciteError):
                stopped = error.exit_code in (INTERRUPTED, TERMINATED)
            reason = " ".join(str(error).split()) or type(error).__name__
            self._end("stopped" if stopped else "failed", reason, {})
            raise

    def _end(self, status: str, reason: str, metrics: Mapping[str, Any]) -> None:
        if self._started:
            self._started = False
            self._call("on_end", TrainingEnd(status, reason, self._step, metrics))

    def _call(self, name: str, event: object, hooks: Sequence[Hook] | None = None) -> None:
        for hook in list(self._hooks if hooks is None else hooks):
            try:
                with torch.no_grad():  # whatever the hook sets is restored
                    getattr(hook, name)(event)
            except Exception as error:
                self._hooks.remove(hook)
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                text = (
                    f"the hook {type(hook).__name__} failed in {name} and is left out from here on: {reason}"
                )
                warnings.warn(text, ExciteWarning, stacklevel=2)


def _watches_steps(hook: Hook) -> bool:
    return type(hook).on_step is not Hook.on_step


def _values(sums: Tensor, gradient_norm: Tensor) -> Callable[[], tuple[float, float, float]]:
    """The numbers of a step, read from the device when a hook asks for them, and once for all hooks."""
    known: list[tuple[float, float, float]] = []

    def values() -> tuple[float, float, float]:
        if not known:
            loss, correct, images, norm = torch.cat([sums, gradient_norm.reshape(1).to(sums)]).tolist()
            known.append((loss / images, correct / images, norm))
        return known[0]

    return values
