"""--recipe finetune: starts from the probe, and comes back toward it as far as validation images ask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import excite
from excite.data.corruptions import CORRUPTIONS
from excite.models.head import head_path
from excite.pipeline.finetuning import START
from excite.pipeline.weight_interpolation import FRACTIONS
from tests.conftest import make_pictures

QUICK = {"quiet": True, "device": "cpu", "model": "cifar_resnet20", "image_size": 32, "precision": "float32"}
QUICK |= {"near_duplicates": False}
PROBE = QUICK | {"recipe": "probe"}
QUICK |= {"epochs": 1, "batch_size": 8, "recipe": "finetune"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and weights without a head."""
    place = tmp_path_factory.mktemp("finetuning")
    make_pictures(place / "pictures")
    torch.manual_seed(0)
    model = excite.create_model("cifar_resnet20", num_classes=10)
    kept = {
        name: value for name, value in model.state_dict().items() if not name.startswith(head_path(model))
    }
    save_file(kept, place / "w.safetensors")
    return place


@pytest.mark.slow
def test_the_start_is_the_probe_and_the_end_lies_between_start_and_best(place: Path) -> None:
    run = excite.train(
        place / "pictures",
        weights=str(place / "w.safetensors"),
        out=str(place / "run"),
        **(QUICK | {"robustness": True}),
    )
    resolved = run.config
    assert resolved.lr == pytest.approx(2e-4)
    assert (resolved.layer_decay, resolved.patience, resolved.monitor) == (0.65, 10, "loss")
    assert resolved.batch_norm == "frozen"
    assert resolved.augment == "small"
    given = load_file(place / "w.safetensors")
    start, best = (load_file(run.checkpoints / name) for name in (START, "best.safetensors"))
    ended = load_file(run.weights)
    assert all(torch.equal(start[name], given[name]) for name in given if "num_batches" not in name)
    probe = excite.train(
        place / "pictures",
        weights=str(place / "w.safetensors"),
        out=str(place / "probe"),
        **PROBE,
    )
    assert probe.metrics["val"]["accuracy"]["value"] > 0.9
    assert resolved.tta == "flip"
    name = next(name for name in given if name.endswith("conv1.weight"))
    moved = best[name] - start[name]
    share = float(((ended[name] - start[name]) * moved).sum() / (moved * moved).sum())
    shifts = run.read_json("robustness.json")
    assert share == pytest.approx(shifts["fraction"], abs=1e-3)
    assert shifts["fraction"] in FRACTIONS
    assert [row["corruption"] for row in shifts["rows"]] == ["clean", *CORRUPTIONS]
    assert shifts["probe"] == (shifts["fraction"] == 0)
    assert shifts["fraction"] < 1 or all(row["final"] == row["tuned"] for row in shifts["rows"])
    assert ended[name].numpy() == pytest.approx((start[name] + share * moved).numpy(), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("balance", ["none", "weights"])
def test_with_a_rate_of_zero_the_probe_is_what_comes_out(place: Path, balance: str) -> None:
    common = {"weights": str(place / "w.safetensors"), "balance": balance}
    still = QUICK | common | {"lr": 0.0, "weight_decay": 0.0, "out": str(place / f"still-{balance}")}
    run = excite.train(place / "pictures", **still)
    options = PROBE | common | {"out": str(place / f"as-probe-{balance}")}
    probe = excite.train(place / "pictures", **options)
    assert run.read_json("robustness.json")["probe"]
    ended, expected = load_file(run.weights), load_file(probe.weights)
    for name, value in expected.items():
        np.testing.assert_allclose(ended[name], value, atol=1e-6)
    assert (
        run.read_json("classifier.json")["preprocessing"]
        == probe.read_json("classifier.json")["preprocessing"]
    )
    for kind in ("predictions.csv", "val_predictions.csv"):
        assert (run.path / kind).read_text() == (probe.path / kind).read_text()
    assert (run.path / "probe.csv").read_text() == (probe.path / "metrics.csv").read_text()
    assert len(run.history) == 1
    assert "rows" not in run.read_json("robustness.json")  # measured on request
    assert "log loss under corruptions" not in (run.path / "report.html").read_text()


@pytest.mark.slow
def test_a_head_that_came_with_the_weights_stays(place: Path) -> None:
    torch.manual_seed(3)
    model = excite.create_model("cifar_resnet20", num_classes=3)
    save_file(model.state_dict(), place / "whole.safetensors")
    run = excite.train(
        place / "pictures", weights=str(place / "whole.safetensors"), out=str(place / "final"), **QUICK
    )
    start = load_file(run.checkpoints / START)
    assert torch.equal(start[f"{head_path(model)}.weight"], model.state_dict()[f"{head_path(model)}.weight"])
    assert not run.read_json("robustness.json")["probe"]
