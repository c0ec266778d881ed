"""Several processes under torchrun."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import Command

TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
OPTIONS = ("--epochs", 2, "--batch-size", 12, "--precision", "float32", "--augment", "best", "--seed", 5)


def trained(command: Command, data: Path, out: Path, model: str, *more: object) -> dict[str, torch.Tensor]:
    launcher = TORCHRUN if "two" in out.name else ()
    done = command("train", data, "--out", out, "--model", model, *OPTIONS, *more, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("accuracy") == 1  # one process speaks
    return load_file(out / "model.safetensors")


def test_two_processes_give_the_result_of_one_without_batch_norm(
    excite_command: Command, pictures: Path, tmp_path: Path
) -> None:
    one = trained(excite_command, pictures, tmp_path / "one", "convnext_atto", "--image-size", 32)
    two = trained(excite_command, pictures, tmp_path / "two", "convnext_atto", "--image-size", 32)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)


def test_batch_norm_takes_each_process_s_share_as_accumulation_takes_each_piece(
    excite_command: Command, pictures: Path, tmp_path: Path
) -> None:
    """With batch norm two processes are one that cuts its batch in two, but for the running statistics."""
    one = trained(excite_command, pictures, tmp_path / "one", "densenet_bc_40_12", "--accumulation-steps", 2)
    two = trained(excite_command, pictures, tmp_path / "two", "densenet_bc_40_12")
    for name, value in one.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(two[name], value, rtol=1e-2, atol=1e-4)


def test_a_batch_that_cannot_be_shared_out_is_refused(
    excite_command: Command, pictures: Path, tmp_path: Path
) -> None:
    done = excite_command("train", pictures, "--batch-size", 13, launcher=TORCHRUN)
    assert done.returncode != 0
    message = "excite: error: batch_size: 13 images cannot be divided into 2 equal pieces"
    assert done.stderr.count(message) == 1


pytestmark = pytest.mark.slow
