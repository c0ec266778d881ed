"""Trainings on several processes under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import excite
from tests.conftest import Command, make_pictures

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("on_two_processes.py")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
COMMON = {
    "epochs": 2,
    "batch_size": 12,
    "precision": "float32",
    "augment": "best",
    "seed": 5,
    "device": "cpu",
}
COMMON |= {"near_duplicates": False}
OPTIONS: dict[str, dict[str, Any]] = {
    "without_norm": COMMON | {"model": "convnext_atto", "image_size": 32},
    "with_norm": COMMON | {"model": "cifar_resnet20", "attention": "se"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def on_two(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of two processes for each of ``OPTIONS``."""
    place = tmp_path_factory.mktemp("two")
    options = [
        json.dumps(values | {"data": str(data), "out": str(place / name)}) for name, values in OPTIONS.items()
    ]
    subprocess.run(
        [sys.executable, *TORCHRUN, str(SCRIPT), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
        check=True,
    )
    return place


def on_one(data: Path, out: Path, options: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_file(excite.train(data, out=str(out), quiet=True, **options).weights)


def test_two_processes_give_the_result_of_one_without_batch_norm(
    on_two: Path, data: Path, tmp_path: Path
) -> None:
    two = load_file(on_two / "without_norm" / "model.safetensors")
    for name, value in on_one(data, tmp_path / "one", OPTIONS["without_norm"]).items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)


def test_batch_norm_takes_each_process_s_share_as_accumulation_takes_each_piece(
    on_two: Path, data: Path, tmp_path: Path
) -> None:
    """With batch norm, two processes equal two accumulation steps but for the running statistics."""
    two = load_file(on_two / "with_norm" / "model.safetensors")
    one = on_one(data, tmp_path / "one", OPTIONS["with_norm"] | {"accumulation_steps": 2})
    for name, value in one.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(two[name], value, rtol=1e-2, atol=1e-4)


def test_a_batch_that_cannot_be_divided_is_refused_by_one_line(
    excite_command: Command, data: Path, tmp_path: Path
) -> None:
    options = ("--batch-size", 13, "--no-near-duplicates", "--device", "cpu", "--out", tmp_path / "run")
    done = excite_command("train", data, *options, launcher=TORCHRUN)
    assert done.returncode != 0
    message = "excite: error: batch_size: 13 images cannot be divided into 2 equal pieces"
    assert done.stderr.count(message) == 1
    assert not (tmp_path / "run").exists()
