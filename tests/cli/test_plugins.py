"""A user's own parts by name, in every command that builds a network, from a package or with ``--import``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import excite
from excite.plugins import loading
from excite.runs.run import Run
from tests.conftest import SMALL, Command

TEMPLATE = Path(excite.__file__).parents[1] / "examples" / "plugin"
NET = {**SMALL, "model_options": {**SMALL["model_options"], "block_config": [1]}, "epochs": 1}
PARTS = """
from collections import OrderedDict
import excite, torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import v2

@excite.register("attention", "energy")
class Energy(nn.Module):
    def __init__(self, channels, *, power=2.0):
        super().__init__()
        self.weight, self.power = nn.Parameter(torch.ones(1, channels, 1, 1)), power

    def forward(self, u):
        return u * torch.sigmoid(self.weight * u.abs().pow(self.power).mean((2, 3), keepdim=True))

@excite.register("model", "my_net")
def my_net(num_classes, *, width=6):
    layers = {"conv": nn.Conv2d(3, width, 3), "relu": nn.ReLU(), "pool": nn.AdaptiveAvgPool2d(2)}
    layers |= {"flat": nn.Flatten(), "head": nn.Linear(4 * width, num_classes)}
    return nn.Sequential(OrderedDict(layers))

@excite.register("augmentation", "jitter")
def jitter(brightness=0.3):
    return v2.Compose([v2.RandomCrop(16, padding=2), v2.ColorJitter(brightness=brightness)])

@excite.register("loss", "focal")
def focal(gamma=2.0):
    def loss(logits, targets):
        losses = F.cross_entropy(logits, targets, reduction="none")
        return (1 - torch.exp(-losses)) ** gamma * losses
    return loss

@excite.register("hook", "notes")
class Notes(excite.Hook):
    def on_start(self, start):
        self.run = start.run

    def on_epoch(self, epoch):
        with (self.run / "notes.txt").open("a") as file:
            file.write(f"{epoch.epoch}\\n")
"""
OWN: dict[str, Any] = {
    "model": "my_net",
    "model_options": {"width": 8},
    "attention": "energy",
    "attention_options": {"power": 1.0},
    "where": "conv",
    "augment": "jitter",
    "augment_options": {"brightness": 0.2},
    "loss": "focal",
    "loss_options": {"gamma": 1.0},
    "track": ["notes"],
    "imports": ["my_parts"],
    "image_size": 16,
    "batch_size": 8,
    "near_duplicates": False,
    "device": "cpu",
    "precision": "float32",
    "epochs": 2,
}


@pytest.fixture
def forget(own_names: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forgets what was registered and imported, as a new process would."""
    from excite.plugins import registry

    def forget() -> None:
        built_in = {
            kind: {name: each for name, each in of.items() if each.built_in}
            for kind, of in registry._REGISTERED.items()
        }
        monkeypatch.setattr(registry, "_REGISTERED", built_in)
        monkeypatch.setattr(loading, "_imported", set())
        monkeypatch.setattr(loading, "_searched", True)
        sys.modules.pop("my_parts", None)

    return forget


def write_parts(place: Path) -> Path:
    """``my_parts.py`` in the working directory of the command, and the options as YAML."""
    (place / "work" / "my_parts.py").write_text(PARTS)
    options = place / "options.yaml"
    options.write_text(yaml.safe_dump(OWN))
    return options


@pytest.mark.slow
def test_the_template_package_is_installed_trained_predicted_and_exported(
    excite_command: Command, pictures: Path, tmp_path: Path, own_names: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a user does it: pip install, and no other option than the name."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    site, source = tmp_path / "site", tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "excite_spread.py"):
        (source / name).write_text((TEMPLATE / name).read_text())
    call = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation"]
    call += ["--no-deps", "--disable-pip-version-check", "--target", str(site), str(source)]
    subprocess.run(call, check=True, capture_output=True)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(loading, "_searched", False)
    options = tmp_path / "options.yaml"
    options.write_text(yaml.safe_dump({**NET, "attention": "spread", "attention_options": {"slope": 0.5}}))
    run = tmp_path / "run"
    done = excite_command("train", pictures, "--config", options, "--out", run)
    assert done.returncode == 0, done.stderr
    [noted] = Run(run).read_json("environment.json")["plugins"]
    assert (noted["kind"], noted["name"], noted["module"]) == ("attention", "spread", "excite_spread")
    assert (noted["package"], noted["version"]) == ("excite-spread", "0.1.0")
    assert any("attention" in name and name.endswith(".a") for name in load_file(run / "model.safetensors"))
    image = next(pictures.rglob("*.png"))
    predicted = excite_command("predict", run, image, "--json")
    assert predicted.returncode == 0, predicted.stderr
    exported = excite_command("export", run, "--format", "onnx", "--out", tmp_path / "run.onnx")
    assert exported.returncode == 0, exported.stderr
    assert "the largest difference of a probability is" in exported.stdout
    from_file = excite_command("predict", tmp_path / "run.onnx", image, "--json")
    assert from_file.returncode == 0, from_file.stderr
    [one], [other] = json.loads(predicted.stdout), json.loads(from_file.stdout)
    assert one["label"] == other["label"]
    assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
    sys.modules.pop("excite_spread")


@pytest.mark.slow
def test_all_kinds_are_brought_by_import_recorded_and_missed(
    excite_command: Command, pictures: Path, tmp_path: Path, forget: Any
) -> None:
    options, run = write_parts(tmp_path), tmp_path / "run"
    done = excite_command("train", pictures, "--config", options, "--out", run)
    assert done.returncode == 0, done.stderr
    assert (run / "notes.txt").read_text() == "1\n2\n"
    noted = {each["kind"]: each for each in Run(run).read_json("environment.json")["plugins"]}
    assert {kind: each["name"] for kind, each in noted.items()} == {
        "attention": "energy",
        "model": "my_net",
        "augmentation": "jitter",
        "loss": "focal",
        "hook": "notes",
    }
    assert {each["module"] for each in noted.values()} == {"my_parts"}
    kept = json.loads((run / "classifier.json").read_text())["plugins"]
    assert {each["kind"] for each in kept} == {"attention", "model"}  # what a prediction takes
    assert not any("file" in each for each in kept)
    assert "loss focal" in (run / "report.html").read_text()

    image, brought = next(pictures.rglob("*.png")), ("--import", "my_parts")
    for command in (
        ("predict", run, image),
        ("evaluate", run),
        ("explain", run, image, "--out", tmp_path / "explained"),
        ("export", run, "--format", "torch", "--out", tmp_path / "run.pt2"),
        ("summary", run),
    ):
        forget()
        missed = excite_command(*command)
        assert missed.returncode == 1, command
        assert missed.stderr.count("\n") <= 2
        assert (
            f"{run}: was trained with the attention 'energy' of my_parts, which is not loaded"
            in missed.stderr
        )
        assert "add --import my_parts" in missed.stderr
        forget()
        found = excite_command(*command, *brought)
        assert found.returncode == 0, (command, found.stderr)
        assert "warning" not in found.stderr
    forget()
    assert excite_command("compare", run, run).returncode == 0  # takes no network

    forget()
    file = tmp_path / "work" / "my_parts.py"
    file.write_text(f"{PARTS}\n# a comment\n")
    changed = excite_command("predict", run, image, *brought)
    assert changed.returncode == 0
    assert changed.stderr.count("is not the one that this run was trained with") == 2  # attention and network


def test_networks_and_sites_of_a_module_are_shown(
    excite_command: Command, tmp_path: Path, own_names: None
) -> None:
    write_parts(tmp_path)
    brought = ("--import", "my_parts")
    shown = excite_command("summary", "my_net", *brought, "--image-size", 16, "--json")
    assert json.loads(shown.stdout)["model"] == "my_net"
    assert "1 sites" in excite_command("sites", "my_net", *brought, "--where", "conv").stdout
    with_own = ("--attention", "energy", "--where", "conv", "--image-size", 16)
    assert excite_command("summary", "my_net", *brought, *with_own).returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "vocal"}, "unknown loss 'vocal' (did you mean 'focal'?)"),
        ({"augment": "jiter"}, "unknown augmentation 'jiter' (did you mean 'jitter'?)"),
        ({"attention": "energi"}, "unknown attention 'energi' (did you mean 'energy'?)"),
        ({"track": ["tensorbord"]}, "unknown hook 'tensorbord' (did you mean 'tensorboard'?)"),
        ({"loss_options": {"gama": 1}}, "loss 'focal': unknown option 'gama'"),
        ({"imports": ["my_absent"]}, "--import my_absent: there is no module my_absent"),
    ],
)
def test_a_wrong_name_is_one_line_before_anything_is_written(
    excite_command: Command,
    pictures: Path,
    tmp_path: Path,
    own_names: None,
    options: dict[str, Any],
    message: str,
) -> None:
    write_parts(tmp_path)
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump({**OWN, **options}))
    done = excite_command("train", pictures, "--config", file, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_train_as_one(
    excite_command: Command, pictures: Path, tmp_path: Path, own_names: None
) -> None:
    """Their images are the same, and their averaged gradients agree to rounding."""
    options = write_parts(tmp_path)
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
    for name, launcher in (("one", ()), ("two", torchrun)):
        done = excite_command(
            "train", pictures, "--config", options, "--out", tmp_path / name, launcher=launcher
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name / "notes.txt").read_text() == "1\n2\n"  # one process tells
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    assert Run(tmp_path / "two").history["train_loss"].tolist() == pytest.approx(
        Run(tmp_path / "one").history["train_loss"].tolist(), rel=1e-5
    )


@pytest.mark.slow
def test_folds_of_two_jobs_are_those_of_one(
    excite_command: Command, pictures: Path, tmp_path: Path, own_names: None
) -> None:
    options = write_parts(tmp_path)
    folded = ("train", pictures, "--config", options, "--folds", 2, "--epochs", 1)
    for name, jobs in (("alone", 1), ("jobs", 2)):
        done = excite_command(*folded, "--jobs", jobs, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "jobs" / "predictions.csv").read_text() == (
        tmp_path / "alone" / "predictions.csv"
    ).read_text()


@pytest.mark.slow
def test_a_stopped_training_names_the_module_and_resumes_to_the_same_weights(
    excite_command: Command, pictures: Path, tmp_path: Path, forget: Any
) -> None:
    options = write_parts(tmp_path)
    whole = excite_command("train", pictures, "--config", options, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    (tmp_path / "work" / "my_stop.py").write_text(
        "import excite, os, signal\n"
        "@excite.register('hook', 'stop')\n"
        "class Stop(excite.Hook):\n"
        "    def on_step(self, step):\n"
        "        if step.step == 7:\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    run = tmp_path / "run"
    stopped = excite_command(
        "train", pictures, "--config", options, "--out", run, "--import", "my_parts", "--import", "my_stop",
        "--track", "stop",
    )  # fmt: skip
    assert stopped.returncode == 143
    assert f"excite train --resume --out {run} --import my_parts --import my_stop" in stopped.stderr
    forget()
    missed = excite_command("train", "--resume", "--out", run)
    assert missed.returncode == 1
    assert "was trained with the attention 'energy' of my_parts" in missed.stderr
    sys.modules.pop("my_stop")
    forget()
    done = excite_command("train", "--resume", "--out", run, "--import", "my_parts", "--import", "my_stop")
    assert done.returncode == 0, done.stderr
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_workers_of_a_study_get_the_modules_and_a_resume_asks_for_them(
    excite_command: Command, pictures: Path, tmp_path: Path, forget: Any
) -> None:
    pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    write_parts(tmp_path)
    study = tmp_path / "study"
    options = ("--epochs", 1, "--image-size", 16, "--batch-size", 8, "--device", "cpu", "--seeds", 1)
    arms = ("--arm", "plain:my_net", "--arm", "own:my_net+energy,where=conv,loss=focal,augment=jitter")
    done = excite_command(
        "study", "run", pictures, *arms, *options, "--out", study, "--import", "my_parts", "--jobs", 1
    )
    assert done.returncode == 0, done.stderr
    cell = Run(study / "cells" / "own" / "seed-0-fold-0")
    assert {each["name"] for each in cell.read_json("environment.json")["plugins"]} == {
        "energy",
        "my_net",
        "focal",
        "jitter",
    }
    assert cell.config.imports == ["my_parts"]
    forget()
    missed = excite_command("study", "resume", study)
    assert missed.returncode == 1
    assert f"{study}: was trained with the model 'my_net' of my_parts, which is not loaded" in missed.stderr
    forget()
    assert excite_command("study", "resume", study, "--import", "my_parts").returncode == 0
