"""--recipe finetune: starts from the probe, and comes back toward it as far as validation images ask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import excite
from excite.config.train_config import TrainConfig
from excite.data.corruptions import CORRUPTIONS
from excite.data.manifest import Manifest
from excite.models.head import head_path
from excite.pipeline.finetuning import START
from excite.pipeline.weight_interpolation import FRACTIONS, MAX_IMAGES, nearest_to_start, sample_rows
from tests.conftest import make_pictures

QUICK = {"quiet": True, "device": "cpu", "model": "cifar_resnet20", "image_size": 32, "precision": "float32"}
PROBE = QUICK | {"recipe": "probe"}
QUICK |= {"epochs": 2, "batch_size": 8, "recipe": "finetune"}


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


def test_the_start_is_the_probe_and_the_end_lies_between_start_and_best(place: Path) -> None:
    run = excite.train(
        place / "pictures", weights=str(place / "w.safetensors"), out=str(place / "run"), **QUICK
    )
    settled = run.config
    assert settled.lr == pytest.approx(2e-4)
    assert (settled.layer_decay, settled.patience, settled.monitor) == (0.65, 10, "loss")
    assert settled.batch_norm == "frozen"
    assert settled.augment == "small"
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
    assert settled.tta == "flip"
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
    assert len(run.history) == 2
    kept = run.read_json("robustness.json")["rows"][0]["final"]
    assert kept["accuracy"] == pytest.approx(run.metrics["test"]["accuracy"]["value"], abs=0.1)


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


def test_it_stays_at_the_start_unless_the_groups_agree_that_going_on_is_better() -> None:
    groups = np.repeat(np.arange(20), 10)
    random = np.random.default_rng(0)
    start = random.uniform(0.4, 0.8, 200)
    better = start - 0.2 + random.normal(0, 0.05, 200)
    assert nearest_to_start(np.stack([start, start - 0.1, better]), groups) == 2
    # One group in two is as much worse as the other is better, but for a little.
    torn = start + np.repeat(np.where(np.arange(20) % 2, 0.3, -0.31), 10)
    assert torn.mean() < start.mean()
    assert nearest_to_start(np.stack([start, torn]), groups) == 0
    # Were the images independent witnesses, the same differences would be enough.
    some = start + np.repeat(np.where(np.arange(20) % 2, 0.3, -0.36), 10)
    assert nearest_to_start(np.stack([start, some]), np.arange(200)) == 1
    assert nearest_to_start(np.stack([start, some]), groups) == 0
    assert nearest_to_start(np.stack([start, start + 0.1]), groups) == 0


def test_one_copy_of_each_photo_is_asked_and_not_more_images_than_that_takes() -> None:
    photos = [f"photo {number // 4}" for number in range(2000)]
    splits = np.where(np.arange(2000) // 4 % 5 == 0, "val", "train")
    labels = np.where(np.arange(2000) % 8 < 4, "a", "b")
    columns = {"path": list(map(str, range(2000))), "label": labels, "photo": photos, "split": splits}
    images = Manifest(pd.DataFrame(columns), ("a", "b"))
    one = sample_rows(images, "val", TrainConfig().replace(augmented_copies="one"))
    assert sorted(np.array(photos)[one]) == sorted(set(np.array(photos)[splits == "val"]))
    assert (splits[one] == "val").all()
    assert len(set(one % 4)) == 4  # not always the first copy
    every = sample_rows(images, "val", TrainConfig().replace(augmented_copies="all"))
    assert len(every) == len(set(every)) == MAX_IMAGES
    assert (np.diff(every) > 0).all()
