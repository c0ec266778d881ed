<<<<<<< ours
"""``excite train --resume``: an interrupted training ends with the weights of an undisturbed one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import Command, make_pictures


def start(place: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "excite", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for_epoch(process: subprocess.Popen[str], epoch: int) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if re.match(rf"epoch +{epoch} ", line):
            return
    pytest.fail("the training ended too early")


SMALL = ("--model", "cifar_resnet20", "--image-size", 16, "--batch-size", 8)
KILLED = (*SMALL, "--epochs", 6, "--augment", "best", "--seed", 9)


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> dict[str, Tensor]:
    """The weights of a training that nothing interrupts."""
    assert start(place, "train", "pictures", *KILLED, "--out", "whole").wait(timeout=300) == 0
    return load_file(place / "whole" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_killed_training_goes_on_to_the_same_weights(
    place: Path, undisturbed: dict[str, Tensor], number: int, code: int, excite_command: Command
) -> None:
    cut = f"cut-{code}"
    process = start(place, "train", "pictures", *KILLED, "--out", cut)
    wait_for_epoch(process, 2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert "with a checkpoint" in errors
        assert "--resume" in errors
    assert not (place / cut / "metrics.json").exists()
    refused = excite_command("train", place / "pictures", "--out", place / cut, "--resume", "--epochs", 7)
    assert "--epochs: was 6 when the run started" in refused.stderr
    assert start(place, "train", "pictures", "--out", cut, "--resume").wait(timeout=300) == 0
    resumed = load_file(place / cut / "model.safetensors")
    assert all(resumed[name].equal(value) for name, value in undisturbed.items())
    finished = excite_command("train", "--out", place / cut, "--resume")
    assert finished.returncode == 0
    assert load_file(place / cut / "model.safetensors").keys() == resumed.keys()


@pytest.mark.slow
def test_a_training_killed_before_its_first_checkpoint_begins_again_as_it_began(place: Path) -> None:
    options = (*SMALL, "--epochs", 2, "--seed", 11)
    process = start(place, "train", "pictures", *options, "--out", "early")
    assert process.stderr is not None
    for line in process.stderr:
        if "training, " in line and "validation, and" in line:
            break
    process.kill()
    process.communicate(timeout=300)
    assert not (place / "early" / "checkpoints").exists()
    assert start(place, "train", "--out", "early", "--resume").wait(timeout=300) == 0
    assert start(place, "train", "pictures", *options, "--out", "undisturbed").wait(timeout=300) == 0
    one, other = (load_file(place / name / "model.safetensors") for name in ("early", "undisturbed"))
    assert all(one[name].equal(other[name]) for name in one)


def test_changed_images_stop_a_resume(tmp_path: Path) -> None:
    make_pictures(tmp_path / "pictures")
    process = start(tmp_path, "train", "pictures", *SMALL, "--epochs", 50, "--out", "run")
    wait_for_epoch(process, 1)
    process.terminate()
    process.communicate(timeout=300)
    shutil.copy(tmp_path / "pictures" / "a" / "p0_0.png", tmp_path / "pictures" / "b" / "p0_0.png")
    again = start(tmp_path, "train", "pictures", "--out", "run", "--resume")
    assert "the image has changed since the run began" in again.communicate(timeout=300)[1]
    assert again.returncode == 1
||||||| base
=======
"""A training that is killed resumes to the weights of an uninterrupted one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from torch import Tensor

import excite
from tests.cli.conftest import SMALL
from tests.conftest import Command, make_pictures

OPTIONS = {**SMALL, "epochs": 12, "augment": "best", "seed": 9}


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
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_killed_training_resumes_to_the_same_weights(
    place: Path, uninterrupted: dict[str, Tensor], excite_command: Command, number: int, code: int
) -> None:
    out = place / f"killed{code}"
    returned, errors = interrupt(place, out.name, r"epoch +2 ", number)
    assert returned == code
    if number == signal.SIGTERM:
        assert "--resume" in errors
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
    interrupt(place, "early", r".*images to train on", signal.SIGKILL)
    assert not (place / "early" / "checkpoints").exists()
    done = excite_command("train", "--out", place / "early", "--resume")
    assert done.returncode == 0, done.stderr
    resumed = load_file(place / "early" / "model.safetensors")
    assert all(resumed[name].equal(value) for name, value in uninterrupted.items())


@pytest.mark.slow
def test_changed_images_prevent_resuming(place: Path, tmp_path: Path, excite_command: Command) -> None:
    shutil.copytree(place / "pictures", tmp_path / "pictures")
    shutil.copy(place / "options.yaml", tmp_path)
    interrupt(tmp_path, "run", r"epoch +1 ", signal.SIGTERM)
    shutil.copy(tmp_path / "pictures" / "a" / "p0_0.png", tmp_path / "pictures" / "b" / "p0_0.png")
    done = excite_command("train", tmp_path / "pictures", "--out", tmp_path / "run", "--resume")
    assert done.returncode == 1
    assert "p0_0.png" in done.stderr
>>>>>>> theirs
