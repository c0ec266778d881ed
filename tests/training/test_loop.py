"""The training loop: exactness, interruption, stopping."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from excite.config.imagenet import IMAGENET_MEAN, IMAGENET_STD
from excite.errors import INTERRUPTED, TERMINATED, ExciteError
from excite.system.progress import Display, Status
from excite.training import validation
from excite.training.loop import BEST
from tests.training.conftest import full_net, make_trainer, plain_net, problem, same, weights_of


class SignalAfter(Display):
    """Sends this process a signal after so many steps."""

    def __init__(self, steps: int, number: int) -> None:
        self.left = steps
        self.number = number

    def due(self) -> bool:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return False


def test_sgd_without_augmentation_is_the_textbook_loop(tmp_path: Path) -> None:
    """Written out by hand: normalize, cross-entropy, clip, SGD with momentum, warm-up and cosine."""
    options = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1, "grad_clip": 0.5, "warmup": 0.25}
    trainer = make_trainer(tmp_path, plain_net(), augment="none", epochs=2, channels_last=False, **options)
    trainer.run()

    model = plain_net()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, fused=False, foreach=False)
    pixels, targets = problem()
    images = ((pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(0, 3, 1, 2).astype(np.float32)
    steps = len(pixels) // 8
    for step in range(2 * steps):
        rows = trainer.batches.order(step // steps)[step % steps * 8 :][:8]
        done = step / (2 * steps)
        share = max(done / 0.25, 0.01) if done < 0.25 else (1 + np.cos(np.pi * (done - 0.25) / 0.75)) / 2
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * share
        optimizer.zero_grad()
        F.cross_entropy(model(torch.from_numpy(images[rows])), torch.from_numpy(targets[rows])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    for mine, theirs in zip(trainer.state.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)], ids=["int", "term"]
)
@pytest.mark.parametrize("stop", [1, 5, 6, 7, 11, 18])
def test_a_training_stopped_at_any_step_goes_on_to_the_same_weights(
    tmp_path: Path, stop: int, number: int, code: int, optimizer: str
) -> None:
    whole = make_trainer(tmp_path / "whole", full_net(), optimizer=optimizer)
    whole.run()

    cut = make_trainer(tmp_path / "cut", full_net(), optimizer=optimizer, display=SignalAfter(stop, number))
    with pytest.raises(ExciteError, match="--resume") as stopped:
        cut.run()
    assert stopped.value.exit_code == code

    again = make_trainer(tmp_path / "cut", full_net(), optimizer=optimizer)
    assert again.resume()
    again.run()
    assert same(weights_of(again), weights_of(whole))
    assert same(load_file(tmp_path / "cut" / BEST), load_file(tmp_path / "whole" / BEST))
    assert [row["train_loss"] for row in again.state.counters.history] == [
        row["train_loss"] for row in whole.state.counters.history
    ]


def test_a_damaged_last_checkpoint_costs_an_epoch_and_no_exactness(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "whole", full_net())
    whole.run()
    cut = make_trainer(tmp_path / "cut", full_net(), display=SignalAfter(14, signal.SIGTERM))
    with pytest.raises(ExciteError):
        cut.run()
    last = tmp_path / "cut" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-7] + b"damaged")
    again = make_trainer(tmp_path / "cut", full_net())
    with pytest.warns(UserWarning, match="damaged checkpoint skipped"):
        assert again.resume()
    assert (again.state.counters.epoch, again.state.counters.step) == (2, 0)
    again.run()
    assert same(weights_of(again), weights_of(whole))


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    results = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        trainer = make_trainer(tmp_path / name, full_net(), seed=seed, epochs=1)
        trainer.run()
        results.append(weights_of(trainer))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_global_random_state_has_no_say(tmp_path: Path) -> None:
    results, state = [], np.random.get_state()
    for name in ("a", "b"):
        trainer = make_trainer(tmp_path / name, full_net(), epochs=1)
        np.random.seed(len(results))
        torch.manual_seed(len(results))
        trainer.run()
        results.append(weights_of(trainer))
    np.random.set_state(state)
    assert same(*results)


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["none", "best"])
def test_accumulated_pieces_are_the_whole_batch(tmp_path: Path, augment: str) -> None:
    whole = make_trainer(tmp_path / "whole", plain_net(), augment=augment)
    pieces = make_trainer(tmp_path / "pieces", plain_net(), augment=augment, accumulation_steps=4)
    whole.run()
    pieces.run()
    for name, value in weights_of(whole).items():
        torch.testing.assert_close(weights_of(pieces)[name], value, rtol=1e-3, atol=1e-5)


def test_it_learns_and_keeps_the_averaged_weights_of_the_best_epoch(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, full_net(), augment="none", epochs=8, ema=0.5)
    seen: dict[int, dict[str, torch.Tensor]] = {}
    trainer.on_epoch = lambda counters: seen.__setitem__(
        counters.epoch, {name: v.clone() for name, v in trainer.state.average.model.state_dict().items()}
    )
    counters = trainer.run()
    accuracies = [row["val_accuracy"] for row in counters.history]
    assert max(accuracies) > 0.9
    assert accuracies[counters.best_epoch - 1] == max(accuracies)
    assert same(load_file(tmp_path / BEST), seen[counters.best_epoch])


def test_a_loss_that_is_no_number_names_its_step_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, plain_net())
    steps = trainer.batches.steps
    load = trainer.batches.load

    def poisoned(epoch: int, step: int, part: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, targets = load(epoch, step, part)
        return (images * float("nan") if (epoch, step) == (1, 2) else images), targets

    trainer.batches.load = poisoned  # type: ignore[method-assign]
    with pytest.raises(ExciteError, match=f"not a finite number at step {steps + 3}") as error:
        trainer.run()
    assert error.value.where == "epoch 2"
    again = make_trainer(tmp_path, plain_net())
    again.resume()
    assert (again.state.counters.epoch, again.state.counters.step) == (1, 0)
    assert all(torch.isfinite(value).all() for value in again.state.tensors().values())


def test_a_gradient_that_is_no_number_is_caught_before_it_reaches_the_weights(tmp_path: Path) -> None:
    model = plain_net()
    model[0].weight.register_hook(lambda gradient: gradient * float("inf"))
    trainer = make_trainer(tmp_path, model)
    with pytest.raises(ExciteError, match="at step 1"):
        trainer.run()
    assert all(torch.isfinite(value).all() for value in model.parameters())


def test_patience_ends_a_training_that_gets_no_better(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, plain_net(), epochs=50, patience=2, lr=0.0)
    counters = trainer.run()
    assert (counters.epoch, counters.best_epoch) == (3, 1)
    assert counters.finished == "no improvement in 2 epochs"


@pytest.mark.slow
def test_a_time_budget_ends_the_training_with_its_schedule_run_down(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, plain_net(), epochs=10_000, time_budget=0.02)
    counters = trainer.run()
    assert counters.finished == "the time budget is used up"
    assert counters.seconds >= 1.2
    assert counters.epoch < 10_000
    assert counters.history[-1]["lr"] < 0.01 * counters.history[len(counters.history) // 3]["lr"]


def test_status_counts_what_was_done(tmp_path: Path) -> None:
    shown: list[Status] = []

    class Recorder(Display):
        def due(self) -> bool:
            return True

        def status(self, status: Status) -> None:
            shown.append(status)

    trainer = make_trainer(tmp_path, plain_net(), epochs=2, display=Recorder())
    counters = trainer.run()
    steps = trainer.batches.steps
    assert [(s.epoch, s.step) for s in shown] == [(e, s) for e in (1, 2) for s in range(1, steps + 1)]
    assert shown[steps - 1].loss == pytest.approx(counters.history[0]["train_loss"])
    assert shown[0].seconds_left is None  # before there can be a forecast
    assert shown[-1].seconds_left is not None
    assert 0 <= shown[-1].seconds_left < counters.seconds  # the validation


def test_a_signal_is_answered_at_once(tmp_path: Path) -> None:
    heard: list[str] = []

    class Recorder(SignalAfter):
        def note(self, text: str) -> None:
            heard.append(text)

    with pytest.raises(ExciteError):
        make_trainer(tmp_path, plain_net(), display=Recorder(2, signal.SIGTERM)).run()
    assert len(heard) == 1
    assert "finishing this step" in heard[0]


def test_a_training_stopped_in_its_validation_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large validation set is not waited for."""
    whole = make_trainer(tmp_path / "whole", plain_net())
    whole.run()
    predict, signals = validation.predict_logits, [signal.SIGTERM]

    def interrupted(*arguments: Any, **options: Any) -> np.ndarray:
        if signals:
            os.kill(os.getpid(), signals.pop())
        return predict(*arguments, **options)

    monkeypatch.setattr(validation, "predict_logits", interrupted)
    stopped = make_trainer(tmp_path / "stopped", plain_net())
    with pytest.raises(ExciteError) as raised:
        stopped.run()
    assert raised.value.exit_code == TERMINATED
    assert stopped.state.counters.history == []  # the epoch has not ended
    resumed = make_trainer(tmp_path / "stopped", plain_net())
    assert resumed.resume()
    resumed.run()
    assert same(weights_of(resumed), weights_of(whole))
    numbers = ("train_loss", "val_loss", "val_accuracy")
    for one, other in zip(resumed.state.counters.history, whole.state.counters.history, strict=True):
        assert [one[name] for name in numbers] == [other[name] for name in numbers]


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path, plain_net(), epochs=1).run()
    with pytest.raises(ExciteError, match="another network"):
        make_trainer(tmp_path, full_net(), epochs=1).resume()
