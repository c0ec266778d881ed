"""Trainings on several processes under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from excite.cli.app import run as excite_cli
from tests.conftest import make_pictures

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("on_two_processes.py")
COMMON = ["--batch-size", "12", "--precision", "float32", "--augment", "best", "--seed", "5", "--epochs", "2"]
COMMON += ["--device", "cpu", "--no-near-duplicates"]
WITHOUT_NORM = ["--model", "convnext_atto", "--image-size", "32"]
WITH_NORM = ["--model", "cifar_resnet20", "--attention", "se"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def launched(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Runs of two processes, ``norm`` and ``plain``, and what they and a refused one wrote."""
    place = tmp_path_factory.mktemp("two")
    train = ["train", str(data), *COMMON]
    commands = (
        [*train, *WITHOUT_NORM, "--out", str(place / "plain")],
        [*train, *WITH_NORM, "--out", str(place / "norm")],
        [*train, "--batch-size", "13", "--out", str(place / "refused")],
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(SCRIPT)]
        + [json.dumps(command) for command in commands],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return place, done.stdout, done.stderr


def on_one_process(data: Path, out: Path, *options: str) -> dict[str, torch.Tensor]:
    assert excite_cli(["train", str(data), *COMMON, *options, "--out", str(out)]) == 0
    return load_file(out / "model.safetensors")


def test_two_processes_give_the_result_of_one_without_batch_norm(
    launched: tuple[Path, str, str], data: Path, tmp_path: Path
) -> None:
    two = load_file(launched[0] / "plain" / "model.safetensors")
    for name, value in on_one_process(data, tmp_path / "one", *WITHOUT_NORM).items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)


def test_batch_norm_takes_each_process_s_share_as_accumulation_takes_each_piece(
    launched: tuple[Path, str, str], data: Path, tmp_path: Path
) -> None:
    """With batch norm two processes equal two accumulation steps, but for the running statistics."""
    two = load_file(launched[0] / "norm" / "model.safetensors")
    one = on_one_process(data, tmp_path / "one", *WITH_NORM, "--accumulation-steps", "2")
    for name, value in one.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(two[name], value, rtol=1e-2, atol=1e-4)


def test_only_the_first_process_writes_to_the_terminal(launched: tuple[Path, str, str]) -> None:
    assert launched[1].count("accuracy:") == 2  # of the two runs that were not refused


def test_a_batch_that_cannot_be_divided_is_refused(launched: tuple[Path, str, str]) -> None:
    place, _, stderr = launched
    assert stderr.count("excite: error: batch_size: 13 images cannot be divided into 2 equal pieces") == 1
    assert not (place / "refused").exists()
