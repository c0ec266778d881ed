"""--recipe probe: features are computed once, and the result is a classifier like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import excite
from excite.errors import ExciteError
from excite.models.head import head_path
from excite.runs.evaluate import evaluate_run
from excite.runs.run import Run
from tests.conftest import make_pictures

QUICK = {"quiet": True, "device": "cpu", "model": "cifar_resnet20", "image_size": 32}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and random weights, whose features distinguish colors nevertheless."""
    place = tmp_path_factory.mktemp("probing")
    make_pictures(place / "pictures")
    torch.manual_seed(0)
    model = excite.create_model("cifar_resnet20", num_classes=10)
    head = head_path(model)
    weights = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(head)}
    save_file(weights, place / "w.safetensors")
    return place


@pytest.fixture(scope="module")
def probed(place: Path) -> Run:
    options = {"recipe": "probe", "weights": str(place / "w.safetensors"), "out": str(place / "run")}
    return excite.train(place / "pictures", **QUICK, **options)


@pytest.mark.slow
def test_the_probe_learns_and_its_classifier_predicts_alike(probed: Run) -> None:
    assert probed.metrics["test"]["accuracy"]["value"] > 0.9
    assert probed.metrics["val"]["n"] == len(probed.manifest.part("train")) + len(probed.manifest.part("val"))
    again = evaluate_run(probed)
    assert again.predictions.probabilities == pytest.approx(probed.predicted().probabilities, abs=1e-4)
    for name in ("report.html", "model_card.md"):
        assert (probed.path / name).is_file()


@pytest.mark.slow
def test_only_the_head_differs_from_the_weights(probed: Run, place: Path) -> None:
    began, ended = load_file(place / "w.safetensors"), load_file(probed.weights)
    assert all(torch.equal(began[name], ended[name]) for name in began if "num_batches" not in name)


@pytest.mark.slow
def test_features_are_computed_once(probed: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_arguments: object, **_options: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("excite.inference.features.extract_features", forbidden)
    options = {"recipe": "probe", "weights": str(place / "w.safetensors"), "out": str(place / "again")}
    run = excite.train(place / "pictures", **QUICK, **options)
    assert run.metrics["test"] == probed.metrics["test"]
    other = {**options, "seed": 1, "out": str(place / "other")}
    assert np.isfinite(
        excite.train(place / "pictures", **QUICK, **other).metrics["test"]["log_loss"]["value"]
    )


@pytest.mark.slow
def test_other_weights_have_other_features(place: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_file(excite.create_model("cifar_resnet20", num_classes=10).state_dict(), tmp_path / "v.safetensors")
    options = {"recipe": "probe", "weights": str(tmp_path / "v.safetensors"), "out": str(tmp_path / "run")}
    run = excite.train(place / "pictures", **QUICK, **options)
    again = evaluate_run(run)
    assert again.predictions.probabilities == pytest.approx(run.predicted().probabilities, abs=1e-4)


@pytest.mark.slow
def test_a_probe_is_cross_validated(place: Path, tmp_path: Path) -> None:
    options = {"recipe": "probe", "weights": str(place / "w.safetensors"), "out": str(tmp_path / "run")}
    run = excite.train(place / "pictures", folds=3, **QUICK, **options)
    assert run.metrics["test"]["n"] == 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "probe"}, "probe needs pretrained weights"),
        ({"recipe": "finetune"}, "finetune needs pretrained weights"),
        ({"recipe": "scratch", "pretrained": True}, "scratch starts from random weights"),
    ],
)
def test_a_recipe_without_pretrained_weights_is_refused(
    place: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ExciteError, match=message):
        excite.train(place / "pictures", out=str(tmp_path / "run"), **QUICK, **options)
