"""environment.json: versions, command, and commit of a run."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

import excite
from excite.config.train_config import TrainConfig
from excite.runs import environment as module
from excite.runs.environment import LIBRARIES, environment


@pytest.mark.slow
def test_it_contains_versions_command_and_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["excite", "train", "photos"])
    found = environment(TrainConfig(device="cuda:1", seed=17), 2)
    assert found["excite"] == excite.__version__
    assert found["python"] == platform.python_version()
    assert found["command"] == ["excite", "train", "photos"]
    assert found["working_directory"] == str(tmp_path)
    assert (found["device"], found["processes"], found["seed"]) == ("cuda:1", 2, 17)
    assert found["threads"] == torch.get_num_threads()
    assert found["libraries"] == {name: metadata.version(name) for name in LIBRARIES}
    call = [sys.executable, "-m", "pip", "list", "--format", "json"]
    loud = {**os.environ, "PIP_QUIET": "0"}
    listed = json.loads(subprocess.run(call, capture_output=True, check=True, env=loud).stdout)
    packages = {name.lower(): version for name, version in found["packages"].items()}
    assert {each["name"].lower(): each["version"] for each in listed}.items() <= packages.items()
    assert json.loads(json.dumps(found)) == found


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    call = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with one commit, from which the module seems to run."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    place = tmp_path / "clone"
    file = place / "excite" / "runs" / "environment.py"
    file.parent.mkdir(parents=True)
    file.touch()
    git(tmp_path, "init", "-q", str(place))
    git(place, "add", ".")
    git(place, "commit", "-q", "-m", "first")
    monkeypatch.setattr(module, "__file__", str(file))
    return place


def test_it_contains_the_commit_of_a_checkout_and_whether_files_differ(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert environment(TrainConfig(), 1)["git"] == {"commit": commit, "changed": False}
    (checkout / "excite" / "new.py").touch()
    assert environment(TrainConfig(), 1)["git"] == {"commit": commit, "changed": True}


def test_without_git_or_a_checkout_it_contains_no_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda name: None)
        assert environment(TrainConfig(), 1)["git"] is None
    shutil.rmtree(checkout / ".git")
    assert environment(TrainConfig(), 1)["git"] is None
    (checkout / ".git").mkdir()  # git knows no commit there
    assert environment(TrainConfig(), 1)["git"] is None
