"""``--attention`` for networks that are not built with it: inserted, trained, recorded, rebuilt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import excite
from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.errors import ExciteError
from excite.insertion.insert import inserted_sites, remove
from excite.pipeline.resolve import resolve
from excite.runs.run import Run

OPTIONS = {"epochs": 2, "batch_size": 8, "quiet": True, "device": "cpu", "model": "cifar_resnet20"}
PLACES = [f"layer3.{block}.bn2" for block in range(3)]


@pytest.fixture
def trained(pictures: Path, tmp_path: Path) -> Run:
    attention = {"attention": "eca", "placement": "standard", "stages": "4"}
    return excite.train(pictures, out=str(tmp_path / "run"), **OPTIONS, **attention)


@pytest.mark.slow
def test_the_run_records_the_sites_and_the_classifier_has_them(trained: Run) -> None:
    recorded = json.loads((trained.path / "classifier.json").read_text())["architecture"]
    assert (recorded["attention"], recorded["where"], recorded["stages"]) == ("eca", PLACES, None)
    classifier = excite.Classifier.load(trained)
    assert [site.path for site in inserted_sites(classifier.model)] == PLACES
    rows = trained.predictions
    found = classifier.predict(list(rows["path"]))
    said = rows[[f"p:{name}" for name in classifier.classes]].to_numpy()
    again = [[one.probabilities[name] for name in classifier.classes] for one in found]
    np.testing.assert_allclose(again, said, atol=1e-4)


@pytest.mark.slow
def test_its_attention_can_be_removed(trained: Run) -> None:
    model = excite.Classifier.load(trained).model
    torch.manual_seed(0)
    plain = excite.create_model("cifar_resnet20", num_classes=3)
    assert remove(model).state_dict().keys() == plain.state_dict().keys()


def resolved(**options: object) -> tuple[TrainConfig, list[str]]:
    import pandas as pd

    table = pd.DataFrame({"path": ["/x/1.png", "/x/2.png"], "label": ["a", "b"], "width": 32, "height": 32})
    return resolve(TrainConfig().replace(device="cpu", **options), Manifest(table, ("a", "b")))


@pytest.mark.parametrize(
    ("options", "identity"),
    [
        ({"attention": "se"}, False),
        ({"attention": "se", "identity": True}, True),
        ({"attention": "se", "weights": "w.safetensors"}, True),
        ({"attention": "se", "weights": "w.safetensors", "identity": False}, False),
        ({"attention": "simam", "pretrained": True}, False),
        ({"attention": "ge", "pretrained": True, "attention_options": {"form": "theta-"}}, False),
        ({"attention": "none"}, None),
    ],
)
def test_gates_start_at_one_with_trained_weights(options: dict[str, object], identity: bool | None) -> None:
    assert resolved(model="resnet18", **options)[0].identity is identity


@pytest.mark.parametrize(
    "options", [{"where": "layer4.*"}, {"stages": "5"}, {"identity": True}, {"placement": "pre"}]
)
def test_options_without_effect_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ExciteError, match="has no effect without attention"):
        resolved(model="resnet18", **options)


def test_stages_are_numbers(pictures: Path) -> None:
    with pytest.raises(ExciteError, match="stages: must be numbers separated by commas, got 'last'"):
        excite.train(pictures, attention="se", stages="last", **OPTIONS)


@pytest.mark.slow
def test_trained_weights_score_the_same_before_the_first_step(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    plain = excite.create_model("cifar_resnet20", num_classes=3).eval()
    save_file(plain.state_dict(), tmp_path / "w.safetensors")
    still = {"lr": 0.0, "weight_decay": 0.0, "attention": "se", "precision": "float32"}
    run = excite.train(
        pictures, out=str(tmp_path / "run"), weights=str(tmp_path / "w.safetensors"), **OPTIONS, **still
    )
    assert run.config.identity is True
    model = excite.Classifier.load(run).model
    for name, parameter in plain.named_parameters():
        assert model.get_parameter(name).equal(parameter), name
    gates = [module for name, module in model.named_modules() if name.endswith(".attention")]
    features = torch.randn(2, gates[0].channels, 4, 4)
    assert len(gates) == 9
    assert gates[0](features).equal(features)
