"""Folders for the Hugging Face hub: loaded by excite and timm, uploaded to a stand-in, and not trusted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml

import excite
from excite.data.sources import PixelSubset
from excite.errors import ExciteError
from excite.export.export import export_run
from excite.runs.hub import check_repository
from excite.runs.run import Run
from tests.export.conftest import train_small
from tests.export.hub_server import TOKEN, Hub, running_hub

pytestmark = pytest.mark.slow


def noise(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, size, size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    [exported] = export_run(run, ["hub"], tmp_path_factory.mktemp("hub") / "pictures", license="apache-2.0")
    return exported.path


def test_the_folder_predicts_what_the_run_predicts(run: Run, folder: Path) -> None:
    pixels = PixelSubset(noise(16))
    expected = excite.Classifier.load(run).probabilities(pixels)
    assert np.array_equal(excite.Classifier.load(folder).probabilities(pixels), expected)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "classifier.json",
        "config.json",
        "example.py",
        "excite.json",
        "model.safetensors",
    ]


def test_the_example_runs_and_the_card_names_no_path(run: Run, folder: Path) -> None:
    image = next(iter(run.data_path.glob("a/*.png")))
    call = [sys.executable, str(folder / "example.py"), str(image)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{image}: ")
    card = (folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "apache-2.0"
    assert front["pipeline_tag"] == "image-classification"
    assert "excite.Classifier.load" in card
    assert str(run.data_path.parent) not in card


def test_timm_loads_a_network_that_it_has_with_equal_logits(tmp_path: Path) -> None:
    run = train_small(tmp_path, model="timm:mobilenetv3_small_050", model_options={}, image_size=32)
    [exported] = export_run(run, ["hub"], tmp_path / "hub")
    assert "timm loads it" in exported.notes[0]
    model = timm.create_model(f"local-dir:{exported.path}", pretrained=True).eval()
    classifier = excite.Classifier.load(run)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(model(images), classifier.model(images), atol=1e-6)
    config = timm.data.resolve_data_config({}, model=model)
    assert tuple(config["input_size"]) == (3, 32, 32)
    assert tuple(config["mean"]) == classifier.preprocessing.mean
    assert model.pretrained_cfg["label_names"] == ["a", "b", "c"]


def test_a_network_that_timm_lacks_is_not_declared_to_it(run: Run, folder: Path) -> None:
    assert "architecture" not in json.loads((folder / "config.json").read_text())


def edited(folder: Path, place: Path, **changes: object) -> Path:
    shutil.copytree(folder, place)
    facts = json.loads((place / "classifier.json").read_text())
    (place / "classifier.json").write_text(json.dumps(facts | changes))
    return place


def test_a_folder_of_others_is_not_trusted(folder: Path, tmp_path: Path) -> None:
    facts = json.loads((folder / "classifier.json").read_text())
    for number, (name, value) in enumerate(
        [("checkpoint_path", "/tmp/x.pth"), ("pretrained", True), ("pretrained_cfg", {"url": "http://x"})]
    ):
        bad = edited(folder, tmp_path / str(number), architecture=facts["architecture"] | {name: value})
        with pytest.raises(ExciteError, match=rf"is refused: its architecture sets {name}"):
            excite.Classifier.load(bad)
    for number, name in enumerate(["../run", "/etc", "a/../../b", ""]):
        bad = edited(folder, tmp_path / f"member{number}", members=[{"run": name, "sha256": ""}])
        with pytest.raises(ExciteError, match="is refused: it names the folder"):
            excite.Classifier.load(bad)
    other = edited(folder, tmp_path / "weights")
    (other / "model.safetensors").write_bytes(b"\x80\x04other bytes, such as a pickle")
    with pytest.raises(ExciteError, match="is missing or not the file that the training wrote"):
        excite.Classifier.load(other)


def test_an_ensemble_is_one_folder(tmp_path: Path) -> None:
    run = train_small(tmp_path, folds=2)
    [exported] = export_run(run, ["hub"], tmp_path / "hub")
    pixels = PixelSubset(noise(16))
    loaded = excite.Classifier.load(exported.path)
    assert loaded.is_ensemble
    assert np.array_equal(loaded.probabilities(pixels), excite.Classifier.load(run).probabilities(pixels))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as server:
        yield server


def command(hub: Hub, home: Path, *arguments: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(home),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    call = [sys.executable, "-m", "excite", "--quiet", *arguments]
    return subprocess.run(call, env=environment, capture_output=True, text=True, check=False)


def test_a_run_is_pushed_and_loaded_from_the_hub(hub: Hub, run: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "hub")
    push = ["export", str(run.path), "--format", "hub", "--out", out, "--push", "owner/pictures"]
    done = command(hub, tmp_path / "home", *push)
    assert (done.returncode, done.stderr) == (0, ""), hub.unknown
    assert f"pushed    {hub.address}/owner/pictures" in done.stdout
    assert hub.private["owner/pictures"]
    uploaded = hub.repositories["owner/pictures"]
    for path in Path(out).iterdir():
        assert uploaded[path.name] == path.read_bytes()
    image = str(next(iter(run.data_path.glob("b/*.png"))))
    from_hub = command(hub, tmp_path / "other", "predict", "hub:owner/pictures", image, "--json")
    assert from_hub.returncode == 0, (from_hub.stderr, hub.unknown)
    from_run = excite.Classifier.load(run).predict(image)[0]
    assert json.loads(from_hub.stdout)[0]["probabilities"] == dict(from_run.probabilities)


def test_what_the_hub_refuses_is_one_line(hub: Hub, run: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "hub")
    push = ["export", str(run.path), "--format", "hub", "--out", out]
    refused = command(hub, tmp_path, *push, "--push", "owner/pictures", token="hf_wrong")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "the hub refuses: " in refused.stderr
    assert "hf auth login" in refused.stderr
    wrong = command(hub, tmp_path, *push, "--push", "pictures")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "must have the form owner/name" in wrong.stderr
    missing = command(hub, tmp_path, "predict", "hub:owner/nothing", "x.jpg")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("name", ["pictures", "../x", "a/b/c", "a/..", "", "a b/c"])
def test_a_name_without_owner_is_refused(name: str) -> None:
    with pytest.raises(ExciteError, match="must have the form owner/name"):
        check_repository(name, where="--push")
