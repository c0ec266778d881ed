"""Trainings on several processes under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import excite
from tests.conftest import SMALL, make_pictures

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("on_two_processes.py")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
COMMON = SMALL | {"epochs": 2, "batch_size": 12, "precision": "float32", "augment": "best", "seed": 5}
OPTIONS: dict[str, dict[str, Any]] = {
    "without_norm": COMMON
    | {"model": "convnext_atto", "model_options": {"depths": [1] * 4, "dims": [8, 16, 24, 32]}}
    | {"image_size": 32},
    "with_norm": COMMON | {"attention": "se"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("data") / "pictures")


@dataclass(frozen=True)
class Launch:
    """What two processes left: in ``place`` the run of each of ``OPTIONS``, and what they printed."""

    place: Path
    errors: str


@pytest.fixture(scope="module")
def on_two(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Launch:
    place = tmp_path_factory.mktemp("two")
    refused = {"batch_size": 13}
    options = [
        json.dumps(values | {"data": str(data), "out": str(place / name)})
        for name, values in (*OPTIONS.items(), ("refused", refused))
    ]
    done = subprocess.run(
        [sys.executable, *TORCHRUN, str(SCRIPT), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Launch(place, done.stderr)


def on_one(data: Path, out: Path, options: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_file(excite.train(data, out=str(out), quiet=True, **options).weights)


def test_two_processes_give_the_result_of_one_without_batch_norm(
    on_two: Launch, data: Path, tmp_path: Path
) -> None:
    two = load_file(on_two.place / "without_norm" / "model.safetensors")
    for name, value in on_one(data, tmp_path / "one", OPTIONS["without_norm"]).items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)


def test_batch_norm_takes_each_process_s_share_as_accumulation_takes_each_piece(
    on_two: Launch, data: Path, tmp_path: Path
) -> None:
    """With batch norm, two processes equal two accumulation steps but for the running statistics."""
    two = load_file(on_two.place / "with_norm" / "model.safetensors")
    one = on_one(data, tmp_path / "one", OPTIONS["with_norm"] | {"accumulation_steps": 2})
    for name, value in one.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(two[name], value, rtol=1e-2, atol=1e-4)


def test_a_batch_that_cannot_be_divided_is_refused_by_one_line(on_two: Launch) -> None:
    message = "excite: error: batch_size: 13 images cannot be divided into 2 equal pieces"
    assert on_two.errors.count(message) == 1
    assert [(on_two.place / f"refused-{rank}").read_text() for rank in (0, 1)] == ["2", "2"]
    assert not (on_two.place / "refused").exists()
