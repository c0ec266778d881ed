"""A training on shards gives the weights of a training on the folder, bit for bit."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from excite.api import audit, evaluate, train
from excite.data.reading import read_manifest
from excite.data.shards import write_shards
from excite.errors import ExciteError
from tests.conftest import SMALL, Command

OPTIONS = SMALL | {"epochs": 3, "group_pattern": r"^(p\d)_", "quiet": True}


@pytest.fixture
def shards(pictures: Path, tmp_path: Path) -> Path:
    write_shards(read_manifest(pictures), tmp_path / "shards", shard_bytes=20_000)
    return tmp_path / "shards"


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def trained(data: Path, out: Path, **more: Any) -> Path:
    return train(data, out=str(out), **{**OPTIONS, **more}).path


@pytest.mark.slow
def test_shards_give_the_weights_splits_and_audit_of_the_folder(
    pictures: Path, shards: Path, tmp_path: Path
) -> None:
    folder = trained(pictures, tmp_path / "folder")
    cached = trained(shards, tmp_path / "cached")
    direct = trained(shards, tmp_path / "direct", pixel_cache="off")
    assert weights(folder) == weights(cached) == weights(direct)
    tables = [read_manifest(run / "manifest.csv", complete=False).table for run in (folder, cached)]
    for column in ("label", "group", "split", "photo", "sha256", "width", "height"):
        assert tables[0][column].tolist() == tables[1][column].tolist()
    assert set(tables[1]) - set(tables[0]) == {"shard", "offset", "size"}
    audits = [audit(data, group_pattern=r"^(p\d)_") for data in (pictures, shards)]
    assert audits[0].groups == audits[1].groups
    assert audits[0].pairs == audits[1].pairs
    metrics = [evaluate(folder, data).metrics["accuracy"] for data in (pictures, shards)]
    assert metrics[0] == metrics[1]
    assert evaluate(cached).metrics["accuracy"] == evaluate(folder).metrics["accuracy"]
    assert not [
        path for path in shards.iterdir() if path.suffix not in (".tar", ".csv", ".json")
    ]  # nothing was written among them


@pytest.mark.slow
def test_the_same_command_line_with_shards(excite_command: Command, pictures: Path, tmp_path: Path) -> None:
    shards = tmp_path / "s"
    done = excite_command("shard", pictures, "--out", shards, "--shard-size", "100kB", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    verified = excite_command("shard", shards, "--verify")
    assert verified.stdout == "verified  60 images in 2 shards\n"
    outs = []
    for data in (pictures, shards):
        table = tmp_path / f"{data.name}.csv"
        done = excite_command("split", data, "--out", table, "--group-pattern", r"^(p\d)_")
        assert done.returncode == 0, done.stderr
        outs.append(read_manifest(table).table)
    assert outs[0]["split"].tolist() == outs[1]["split"].tolist()
    assert excite_command("audit", shards, "--out", tmp_path / "a").returncode == 0
    harmed = excite_command("audit", shards, "--out", shards / "audit")
    assert "inside the data, where nothing may be written" in harmed.stderr


KILLED = """
import os, signal, sys
from excite.api import train
from excite.training.loop import Trainer

original, left = Trainer.train_step, [int(sys.argv[3])]

def step(self):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    original(self)
    self.state.counters.step += 1
    self.save()
    self.state.counters.step -= 1

Trainer.train_step = step
from tests.pipeline.test_shard_training import OPTIONS
train(sys.argv[1], out=sys.argv[2], **{**OPTIONS, **eval(sys.argv[4])})
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"pixel_cache": "off"}, {"pixel_cache": "off", "shuffle": "blocks"}])
def test_a_training_that_is_killed_at_any_step_is_resumed_exactly(
    shards: Path, tmp_path: Path, options: dict[str, str]
) -> None:
    whole = trained(shards, tmp_path / "whole", **options)
    step = int(np.random.default_rng(len(options)).integers(1, 12))
    out = tmp_path / f"killed-{step}"
    call = [sys.executable, "-c", KILLED, str(shards), str(out), str(step), repr(options)]
    done = subprocess.run(call, cwd=Path.cwd(), capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    subprocess.run([sys.executable, "-m", "excite", "train", "--resume", "--out", str(out)], check=True)
    assert weights(out) == weights(whole)


@pytest.mark.slow
def test_two_processes_train_on_shards_as_on_the_folder(
    pictures: Path, shards: Path, tmp_path: Path, excite_command: Command
) -> None:
    found = []
    for number, (data, more) in enumerate([(pictures, ()), (shards, ("--pixel-cache", "off"))]):
        out = tmp_path / f"two-{number}"
        arguments = ["train", data, "--out", out, "--epochs", 3, "--group-pattern", r"^(p\d)_", *more]
        arguments += ["--model", "cifar_resnet20", "--image-size", 16, "--batch-size", 8, "--device", "cpu"]
        arguments += ["--no-near-duplicates"]
        done = excite_command(
            *arguments,
            launcher=("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        )
        assert done.returncode == 0, done.stderr
        found.append(weights(out))
    assert found[0] == found[1]


def test_blocks_are_refused_without_shards(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match="--shuffle blocks: the images are not in shards"):
        trained(pictures, tmp_path / "run", shuffle="blocks")
    assert not (tmp_path / "run").exists()


def test_blocks_are_refused_with_sampling(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match="excludes --balance sampling"):
        trained(shards, tmp_path / "run", shuffle="blocks", balance="sampling")
