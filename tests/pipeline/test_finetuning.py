"""--recipe finetune starts from the probe, and interpolates toward it as the validation images decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import excite
from excite.data.corruptions import CORRUPTIONS
from excite.insertion.gate_statistics import has_identity_gates
from excite.models.head import head_path
from excite.pipeline.finetuning import START
from excite.pipeline.weight_interpolation import FRACTIONS
from excite.reporting.kept_text import kept_text
from excite.reporting.provenance import setup_rows
from excite.reporting.run_facts import RunFacts
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
def test_the_final_weights_lie_between_the_probe_and_the_best_epoch(place: Path) -> None:
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
    name = [name for name in given if name.endswith("conv1.weight")][-1]  # the first layers are frozen
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
def test_with_a_learning_rate_of_zero_the_result_is_the_probe(place: Path, balance: str) -> None:
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
def test_a_head_in_the_weights_file_is_kept(place: Path) -> None:
    torch.manual_seed(3)
    model = excite.create_model("cifar_resnet20", num_classes=3)
    save_file(model.state_dict(), place / "whole.safetensors")
    run = excite.train(
        place / "pictures", weights=str(place / "whole.safetensors"), out=str(place / "final"), **QUICK
    )
    start = load_file(run.checkpoints / START)
    assert torch.equal(start[f"{head_path(model)}.weight"], model.state_dict()[f"{head_path(model)}.weight"])
    assert not run.read_json("robustness.json")["probe"]


@pytest.mark.slow
def test_weights_that_are_not_better_are_not_kept_unless_they_shall_be(place: Path) -> None:
    """With a rate of zero nothing is tuned: the run says so, and that its attention does nothing."""
    common = {"weights": str(place / "w.safetensors"), "attention": "se", "lr": 0.0, "weight_decay": 0.0}
    run = excite.train(place / "pictures", **(QUICK | common), out=str(place / "idle"))
    assert run.read_json("classifier.json")["identity_gates"] is True
    facts = RunFacts.of(run)
    assert "Nothing of the fine-tuning is kept" in kept_text(facts)
    assert "has no effect: every gate is one" in kept_text(facts)
    rows = dict(setup_rows(facts))
    assert rows["attention"].endswith("without effect: every gate is one")
    assert "best epoch: 1 (not kept)" in rows["epochs"]
    for name in ("report.html", "model_card.md"):
        assert "Nothing of the fine-tuning is kept" in (run.path / name).read_text()
    common |= {"lr": 0.01, "keep": "tuned"}
    tuned = excite.train(place / "pictures", **(QUICK | common), out=str(place / "kept"))
    best, ended = load_file(tuned.checkpoints / "best.safetensors"), load_file(tuned.weights)
    assert all(torch.equal(best[name], value) for name, value in ended.items())
    assert tuned.read_json("robustness.json")["fraction"] == 1
    assert tuned.read_json("classifier.json")["identity_gates"] is False
    assert kept_text(RunFacts.of(tuned)) == ""


def test_gates_of_a_network_that_was_not_trained_are_one_or_not() -> None:
    images = [(torch.randn(2, 3, 32, 32), torch.zeros(2))]
    for identity in (True, False):
        model = excite.create_model(
            "cifar_resnet20", attention="eca", attention_options={"identity": True} if identity else {}
        )
        assert has_identity_gates(model, images) is identity
    assert has_identity_gates(excite.create_model("cifar_resnet20"), images) is None
