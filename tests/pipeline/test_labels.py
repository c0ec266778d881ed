"""Training on images with several labels, from the table to the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from excite.config.train_config import TrainConfig
from excite.data.reading import read_manifest
from excite.errors import ExciteError
from excite.pipeline.experiment import run_experiment
from excite.runs.classifier import Classifier
from excite.runs.run import Run
from tests.conftest import LABELS, SMALL, make_labeled_pictures

OPTIONS: dict[str, Any] = {
    **SMALL,
    "label_columns": "red,green,blue",
    "group_column": "patient",
    "epochs": 12,
    "lr": 0.01,
    "augment": "none",
}


def run_of(data: Path, out: Path, **changes: Any) -> Run:
    config = TrainConfig().replace(**(OPTIONS | {"data": str(data), "out": str(out)} | changes))
    return run_experiment(config)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_labeled_pictures(tmp_path_factory.mktemp("labels") / "pictures")


@pytest.fixture(scope="module")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_of(table, tmp_path_factory.mktemp("labels") / "run")


def test_it_learns_every_label(trained: Run) -> None:
    predictions = trained.predicted_labels()
    assert predictions.classes == LABELS
    for index, name in enumerate(LABELS):
        known = predictions.targets[:, index] >= 0
        area = roc_auc_score(predictions.targets[known, index], predictions.probabilities[known, index])
        assert trained.metrics["test"]["labels"][name]["auroc"]["value"] == pytest.approx(area)
        assert area > 0.8
    assert (predictions.targets == -1).sum() == trained.metrics["test"]["unknown"]
    assert trained.metrics["test"]["duplicates_in_train"] == 0


def test_groups_stay_together_and_the_manifest_knows_the_task(trained: Run) -> None:
    manifest = trained.manifest
    assert manifest.task == trained.task == "multilabel"
    assert manifest.table.groupby("group")["split"].nunique().max() == 1
    assert trained.config.monitor == "loss"


def test_the_classifier_gives_the_probabilities_of_the_run(trained: Run) -> None:
    classifier = Classifier.load(trained)
    predictions = trained.predicted_labels()
    found = classifier.predict(list(predictions.paths or ()))
    probabilities = np.array([list(each.probabilities.values()) for each in found])
    np.testing.assert_allclose(probabilities, predictions.probabilities, atol=1e-5)
    assert [each.labels for each in found] == [
        tuple(name for name, chosen in zip(LABELS, row, strict=True) if chosen)
        for row in predictions.predicted
    ]
    limits = trained.read_json("classifier.json")["label_thresholds"]
    assert [each["threshold"] for each in limits] == predictions.limits.tolist()
    assert "3 labels: red, green, blue" in repr(classifier)


@pytest.mark.slow
def test_a_resumed_run_has_the_same_weights(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from excite.training import loop

    options: dict[str, Any] = {"epochs": 3, "augment": "best", "label_smoothing": 0.1, "balance": "weights"}
    whole = run_of(table, tmp_path / "whole", **options)
    step = loop.Trainer.train_step
    steps = 0

    def stopping(self: loop.Trainer) -> None:
        nonlocal steps
        steps += 1
        if steps == 12:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(loop.Trainer, "train_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_of(table, tmp_path / "stopped", **options)
    monkeypatch.setattr(loop.Trainer, "train_step", step)
    resumed = run_experiment(TrainConfig(out=str(tmp_path / "stopped")), resume=True)
    one, other = load_file(whole.weights), load_file(resumed.weights)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["probe", "finetune"])
def test_pretrained_recipes(table: Path, trained: Run, tmp_path: Path, recipe: str) -> None:
    changes: dict[str, Any] = {"recipe": recipe, "weights": str(trained.weights), "tta": "none"}
    loop = {"epochs": 40, "lr": None, "augment": "auto", "batch_size": 32}  # the defaults: a probe has none
    changes |= {"epochs": 2} if recipe == "finetune" else loop
    run = run_of(table, tmp_path / "run", **changes)
    assert run.metrics["test"]["macro"]["auroc"]["value"] > 0.8
    if recipe == "finetune":
        assert 0 <= run.read_json("robustness.json")["fraction"] <= 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"positive": "red"}, "--positive: is for one class per image"),
        ({"selective_accuracy": 0.9}, "--selective-accuracy: is for one class per image"),
        ({"balance": "sampling"}, "choose --balance weights"),
        ({"monitor": "accuracy"}, "choose --monitor loss"),
    ],
)
def test_options_of_one_class_per_image_are_refused(
    table: Path, tmp_path: Path, option: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExciteError) as caught:
        run_of(table, tmp_path / "run", **option)
    assert message in f"{caught.value} {caught.value.hint}"


def test_options_of_labels_are_refused_for_classes(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match="--label-threshold: has no effect"):
        run_of(pictures, tmp_path / "run", label_columns="", group_column="group", label_threshold="half")


def test_the_example_writes_a_table_that_is_read(pictures: Path, tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "examples" / "several_labels.py"
    command = [sys.executable, str(script), str(tmp_path / "tiles"), "--source", str(pictures)]
    subprocess.run(command, check=True)
    columns = read_manifest(
        tmp_path / "tiles" / "labels.csv", label_columns="a,b,c", group_column="page", complete=False
    )
    names = read_manifest(
        tmp_path / "tiles" / "labels.csv", label_column="labels", label_separator="|", complete=False
    )
    known = columns.targets() >= 0
    assert (columns.targets()[known] == names.targets()[known]).all()
    assert 0 < (~known).mean() < 0.2
    assert set(columns.table.groupby("group").size()) == {4}
    assert set(names.targets().sum(axis=1).tolist()) <= {0, 1, 2, 3}
