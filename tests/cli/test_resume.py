"""A training that is killed resumes to the weights of an uninterrupted one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from torch import Tensor

import excite
from tests.conftest import SMALL, Command, make_pictures

OPTIONS: dict[str, Any] = {**SMALL, "epochs": 12, "augment": "best", "seed": 9}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``pictures``, and the options of the trainings in ``options.yaml``."""
    place = tmp_path_factory.mktemp("resume")
    make_pictures(place / "pictures")
    (place / "options.yaml").write_text(yaml.safe_dump(OPTIONS))
    return place


@pytest.fixture(scope="module")
def uninterrupted(place: Path) -> dict[str, Tensor]:
    """The weights of a training that nothing interrupts."""
    run = excite.train(place / "pictures", out=str(place / "whole"), quiet=True, **OPTIONS)
    return load_file(run.path / "model.safetensors")


def interrupt(place: Path, out: str, line: str, number: int) -> tuple[int, str]:
    """Train in a process of its own, send it a signal when it prints a line; its exit code and the rest."""
    arguments = ["train", "pictures", "--config", "options.yaml", "--out", out]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "excite", *arguments]
    with subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        if not any(re.match(line, text) for text in process.stderr):
            pytest.fail("the training ended too early")
        process.send_signal(number)
        _, errors = process.communicate(timeout=300)
    return process.returncode, errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_killed_training_resumes_to_the_same_weights(
    place: Path, uninterrupted: dict[str, Tensor], excite_command: Command, number: int, code: int
) -> None:
    out = place / f"killed{code}"
    returned, errors = interrupt(place, out.name, r" +2 ", number)
    assert returned == code
    if number != signal.SIGKILL:
        (line,) = [line for line in errors.splitlines() if line.startswith("excite: stopped")]
        assert line == errors.splitlines()[-1]
        assert "finishing this step" in errors
        assert "error" not in errors
        stopped = rf"stopped in epoch \d+ after (1 step|\d+ steps), with a .*--resume --out {out.name}"
        assert re.search(stopped, line)
        changed = excite_command("train", place / "pictures", "--out", out, "--resume", "--epochs", 7)
        assert "--epochs: was 12 when the run started" in changed.stderr
    assert not (out / "metrics.json").exists()
    done = excite_command("train", place / "pictures", "--out", out, "--resume")
    assert done.returncode == 0, done.stderr
    resumed = load_file(out / "model.safetensors")
    assert all(resumed[name].equal(value) for name, value in uninterrupted.items())


@pytest.mark.slow
def test_a_training_killed_before_its_first_checkpoint_starts_again(
    place: Path, uninterrupted: dict[str, Tensor], excite_command: Command
) -> None:
    interrupt(place, "early", r"run +early", signal.SIGKILL)
    assert not (place / "early" / "checkpoints").exists()
    done = excite_command("train", "--out", place / "early", "--resume")
    assert done.returncode == 0, done.stderr
    resumed = load_file(place / "early" / "model.safetensors")
    assert all(resumed[name].equal(value) for name, value in uninterrupted.items())


@pytest.mark.slow
def test_changed_images_prevent_resuming(place: Path, tmp_path: Path, excite_command: Command) -> None:
    shutil.copytree(place / "pictures", tmp_path / "pictures")
    shutil.copy(place / "options.yaml", tmp_path)
    interrupt(tmp_path, "run", r" +1 ", signal.SIGTERM)
    shutil.copy(tmp_path / "pictures" / "a" / "p0_0.png", tmp_path / "pictures" / "b" / "p0_0.png")
    done = excite_command("train", tmp_path / "pictures", "--out", tmp_path / "run", "--resume")
    assert done.returncode == 1
    assert "p0_0.png" in done.stderr
