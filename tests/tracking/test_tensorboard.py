"""Events that TensorBoard itself reads: curves, options, final metrics, also after a kill and a resume."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import excite
from excite.errors import ExciteWarning
from excite.runs.run import Run
from excite.tracking import tensorboard as module
from excite.tracking.tensorboard import EventFile
from tests.conftest import SMALL, Command
from tests.tracking.trackers import EPOCHS, train_killed_and_resumed

pytest.importorskip("tensorboard", reason="TensorBoard is not installed")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Any:
    """TensorBoard's own reader of a folder; it does not import TensorFlow, which takes long."""
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def load(folder: Path) -> Any:
        return EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()

    return load


def curve(events: Any, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_scalars_and_texts_are_read_back(tmp_path: Path, read: Any) -> None:
    file = EventFile(tmp_path / "events")
    file.add_text("options", "some *text*")
    for step in range(1, 5):
        file.add_scalars({"a": step / 2, "b": -step}, step)
    file.close()
    events = read(tmp_path / "events")
    assert curve(events, "a") == [(step, step / 2) for step in range(1, 5)]
    assert curve(events, "b") == [(step, -step) for step in range(1, 5)]
    [text] = events.Tensors("options")
    assert text.tensor_proto.string_val[0] == b"some *text*"


def test_what_is_beyond_the_purged_step_is_replaced(tmp_path: Path, read: Any) -> None:
    first = EventFile(tmp_path / "events")
    for step in (1, 2, 3, 4):
        first.add_scalars({"a": step}, step)
    first.close()
    second = EventFile(tmp_path / "events", purge_step=3)
    for step in (3, 4, 5):
        second.add_scalars({"a": 10 * step}, step)
    second.close()
    assert curve(read(tmp_path / "events"), "a") == [(1, 1), (2, 2), (3, 30), (4, 40), (5, 50)]


@pytest.mark.slow
def test_a_killed_and_resumed_training_has_one_curve_that_is_its_history(
    excite_command: Command, pictures: Path, tmp_path: Path, read: Any, own_names: None
) -> None:
    train_killed_and_resumed(excite_command, pictures, tmp_path, "tensorboard", alone=False)
    run = Run(tmp_path / "run")
    events, history = read(run.path / module.FOLDER), run.history
    assert len(history) == EPOCHS
    assert len(list((run.path / module.FOLDER).iterdir())) == 2  # a file of each process
    steps = [5 * epoch for epoch in history["epoch"]]
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds"):
        found = curve(events, name)
        assert [step for step, _ in found] == steps, name
        assert np.allclose([value for _, value in found], history[name], rtol=1e-6), name
    assert [step for step, _ in curve(events, "step_loss")] == [10, 20]
    test = run.metrics["test"]
    assert curve(events, "test/accuracy") == [(20, pytest.approx(test["accuracy"]["value"]))]
    assert curve(events, "test/n") == [(20, test["n"])]


@pytest.mark.slow
def test_a_full_disk_ends_no_training(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = EventFile._write, [0]

    def full(self: EventFile, **fields: Any) -> None:
        calls[0] += 1
        if calls[0] > 4:
            raise OSError(28, "No space left on device")
        write(self, **fields)

    monkeypatch.setattr(EventFile, "_write", full)
    options = {"out": str(tmp_path / "run"), "epochs": 3, "track": ["tensorboard"], "quiet": True, **SMALL}
    with pytest.warns(ExciteWarning) as caught:
        run = excite.train(pictures, **options)
    [message] = [str(each.message) for each in caught if isinstance(each.message, ExciteWarning)]
    assert message.startswith("the hook TensorBoard failed in on_")
    assert "No space left on device" in message
    assert len(run.history) == 3
