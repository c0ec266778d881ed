"""Hooks see what happened, change nothing, and one that fails is dropped with one warning."""

from __future__ import annotations

import random
import signal
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import excite
from excite.errors import ExciteError, ExciteWarning
from excite.system.world import World
from excite.tracking.hook import EpochEnd, Hook, StepEnd, TrainingEnd, TrainingStart
from excite.tracking.hooks import Hooks, create_hooks
from tests.conftest import SMALL
from tests.training.conftest import make_trainer, plain_net, same, weights_of
from tests.training.test_loop import SignalAfter


class Recorder(Hook):
    """Keeps everything that it is told."""

    def __init__(self) -> None:
        self.starts: list[TrainingStart] = []
        self.steps: list[StepEnd] = []
        self.epochs: list[EpochEnd] = []
        self.ends: list[TrainingEnd] = []

    def on_start(self, start: TrainingStart) -> None:
        self.starts.append(start)

    def on_step(self, step: StepEnd) -> None:
        self.steps.append(step)

    def on_epoch(self, epoch: EpochEnd) -> None:
        self.epochs.append(epoch)

    def on_end(self, end: TrainingEnd) -> None:
        self.ends.append(end)


class Meddler(Recorder):
    """Does what a hook should not: draws, changes modes, and writes into what it gets."""

    def on_step(self, step: StepEnd) -> None:
        torch.rand(7)
        random.random()
        np.random.rand(3)
        torch.manual_seed(step.step)
        torch.set_grad_enabled(False)
        assert step.loss > 0

    def on_epoch(self, epoch: EpochEnd) -> None:
        epoch.record["val_loss"] = 0.0  # type: ignore[index]
        torch.inference_mode().__enter__()
        torch.inference_mode(False).__enter__()


class Failing(Recorder):
    def on_step(self, step: StepEnd) -> None:
        super().on_step(step)
        if step.step == 3:
            raise ValueError("the disk is\nfull")


def train(folder: Path, hooks: Sequence[Hook], **options: Any) -> Any:
    trainer = make_trainer(folder, plain_net(), **options)
    trainer.hooks = Hooks(hooks)
    trainer.run()
    return trainer


def test_steps_and_epochs_are_told_with_the_numbers_of_the_training(tmp_path: Path) -> None:
    seen = Recorder()
    trainer = train(tmp_path, [seen], augment="none", grad_clip=0.0)
    steps, history = trainer.batches.steps, trainer.state.counters.history
    assert [step.step for step in seen.steps] == list(range(1, 3 * steps + 1))
    assert [step.epoch for step in seen.steps] == [epoch for epoch in (1, 2, 3) for _ in range(steps)]
    assert [(epoch.epoch, epoch.step) for epoch in seen.epochs] == [
        (1, steps),
        (2, 2 * steps),
        (3, 3 * steps),
    ]
    assert [dict(epoch.record) for epoch in seen.epochs] == history
    assert seen.epochs[-1].best == (trainer.state.counters.best_epoch == 3)
    for epoch in (1, 2, 3):  # the record is the mean of its steps
        of_epoch = [step for step in seen.steps if step.epoch == epoch]
        assert np.mean([step.loss for step in of_epoch]) == pytest.approx(history[epoch - 1]["train_loss"])
        accuracy = np.mean([step.accuracy for step in of_epoch])
        assert accuracy == pytest.approx(history[epoch - 1]["train_accuracy"])
        assert of_epoch[-1].lr == pytest.approx(history[epoch - 1]["lr"])
    assert all(step.images == 8 and step.gradient_norm > 0 for step in seen.steps)


def test_the_first_gradient_norm_is_that_of_plain_pytorch(tmp_path: Path) -> None:
    seen = Recorder()
    trainer = train(tmp_path, [seen], augment="none", epochs=1, grad_clip=0.1)
    model = plain_net()
    images, targets = trainer.batches.load(0, 0, 0)
    torch.nn.functional.cross_entropy(model(images), targets).backward()
    squares = sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None)
    assert seen.steps[0].gradient_norm == pytest.approx(squares**0.5, rel=1e-5)  # before clipping


def test_hooks_change_no_weight_whatever_they_do(tmp_path: Path) -> None:
    plain = train(tmp_path / "plain", [])
    before = random.getstate(), np.random.get_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        watched = train(tmp_path / "watched", [Meddler(), Recorder(), Failing()])
    random.setstate(before[0])
    np.random.set_state(before[1])
    assert same(weights_of(plain), weights_of(watched))
    numbers = ("train_loss", "val_loss", "val_accuracy")
    for one, other in zip(plain.state.counters.history, watched.state.counters.history, strict=True):
        assert [one[name] for name in numbers] == [other[name] for name in numbers]


def test_a_hook_that_raises_is_named_once_and_the_others_go_on(tmp_path: Path) -> None:
    failing, seen = Failing(), Recorder()
    with pytest.warns(ExciteWarning) as caught:
        trainer = train(tmp_path, [failing, seen])
    assert [str(each.message) for each in caught] == [
        "the hook Failing failed in on_step and is left out from here on: ValueError: the disk is full"
    ]
    assert len(failing.steps) == 3
    assert failing.epochs == []
    assert len(seen.steps) == 3 * trainer.batches.steps


def test_steps_are_told_at_the_interval_of_the_hook(tmp_path: Path) -> None:
    seen = Recorder()
    seen.step_interval = 4
    trainer = train(tmp_path, [seen])
    assert [step.step for step in seen.steps] == list(range(4, 3 * trainer.batches.steps + 1, 4))


def test_a_process_that_is_not_the_first_calls_no_hook(tmp_path: Path) -> None:
    hooks = Hooks([Recorder()])
    trainer = make_trainer(tmp_path, plain_net(), world=World(rank=1, size=1))
    assert trainer.hooks is not hooks
    assert trainer.hooks._hooks == []


def test_a_stopped_and_resumed_training_tells_each_step_once(tmp_path: Path) -> None:
    seen = Recorder()
    stopped = make_trainer(tmp_path, plain_net(), display=SignalAfter(8, signal.SIGTERM))
    stopped.hooks = Hooks([seen])
    with pytest.raises(ExciteError):
        stopped.run()
    resumed = make_trainer(tmp_path, plain_net())
    resumed.hooks = Hooks([seen])
    assert resumed.resume()
    resumed.run()
    assert [step.step for step in seen.steps] == list(range(1, 3 * resumed.batches.steps + 1))


@pytest.mark.slow
def test_a_run_starts_and_ends_with_its_options_and_metrics(pictures: Path, tmp_path: Path) -> None:
    seen = Recorder()
    run = excite.train(pictures, out=str(tmp_path / "run"), epochs=2, hooks=[seen], quiet=True, **SMALL)
    [start], [end] = seen.starts, seen.ends
    assert (start.run, start.step, start.resumed, start.history) == (run.path, 0, False, [])
    assert start.options == run.config.to_dict()
    assert start.steps * 2 == end.step == seen.steps[-1].step
    assert (end.status, end.reason, end.metrics) == ("finished", "", run.metrics)


@pytest.mark.slow
def test_a_failed_training_ends_with_its_reason(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from excite.pipeline import experiment

    def fail(*arguments: Any) -> None:
        raise ExciteError("the disk is full")

    monkeypatch.setattr(experiment, "finalize", fail)
    seen = Recorder()
    with pytest.raises(ExciteError, match="the disk is full"):
        excite.train(pictures, out=str(tmp_path / "run"), epochs=1, hooks=[seen], quiet=True, **SMALL)
    assert [(end.status, end.reason, end.metrics) for end in seen.ends] == [
        ("failed", "the disk is full", {})
    ]


def test_a_registered_hook_is_created_by_name(own_names: None) -> None:
    excite.register("hook", "recorder")(Recorder)
    [hook] = create_hooks(["recorder"])
    assert isinstance(hook, Recorder)
    excite.register("hook", "broken")(lambda: 1 / 0)
    with pytest.raises(ExciteError, match="--track broken: cannot be created: ZeroDivisionError"):
        create_hooks(["broken"])
    excite.register("hook", "number")(lambda: 1)
    with pytest.raises(ExciteError, match=r"--track number: is int, not a hook .derive it from excite.Hook"):
        create_hooks(["number"])
    with pytest.raises(ExciteError, match=r"unknown hook 'tensorbord' .did you mean 'tensorboard'"):
        create_hooks(["tensorbord"])


@pytest.mark.parametrize(("module", "name"), [("tensorboard", "TensorBoard"), ("mlflow", "MLflow")])
def test_a_tracker_that_is_not_installed_is_refused_before_the_training(
    module: str, name: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda asked: None)
    with pytest.raises(
        ExciteError, match=rf"--track {module}: {name} is not installed .pip install"
    ) as raised:
        excite.train(pictures, out=str(tmp_path / "run"), track=[module], quiet=True, **SMALL)
    assert raised.value.exit_code == 2
    assert not (tmp_path / "run").exists()
