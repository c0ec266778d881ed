"""From a folder to a finished run, and the contents of the run."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

import excite
from excite.errors import ExciteError
from excite.runs.evaluate import evaluate_run
from excite.runs.run import Run
from tests.conftest import SMALL

QUICK = {"epochs": 2, "batch_size": 8, "quiet": True, "device": "cpu"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    from tests.conftest import make_pictures

    place = tmp_path_factory.mktemp("trained")
    return excite.train(make_pictures(place / "pictures"), out=str(place / "run"), **(QUICK | {"epochs": 4}))


@pytest.mark.slow
def test_the_run_folder_contains_the_documented_files(trained: Run) -> None:
    files = {str(path.relative_to(trained.path)) for path in trained.path.rglob("*") if path.is_file()}
    assert files == {
        "config.yaml",
        "manifest.csv",
        "environment.json",
        "metrics.csv",
        "model.safetensors",
        "classifier.json",
        "checkpoints/last.safetensors",
        "checkpoints/previous.safetensors",
        "checkpoints/best.safetensors",
        "audit.json",
        "predictions.csv",
        "val_predictions.csv",
        "report.html",
        "model_card.md",
        "metrics.json",
        "figures/learning_curves.png",
        "figures/confusion_matrix.png",
        "figures/samples.png",
    }


def test_every_option_is_resolved(trained: Run) -> None:
    config = yaml.safe_load((trained.path / "config.yaml").read_text())
    may_be_open = {
        "intensity_range",
        "window",
        "ordinal",
        "group_pattern",
        "near_duplicates",
        "decisions",
        "weights",
        "where",
        "stages",
    }
    may_be_open |= {"time_budget", "patience", "folds", "truncate_after"}
    may_be_open |= {
        "positive",
        "sensitivity",
        "specificity",
        "abstain_below",
        "selective_accuracy",
        "subgroups",
    }
    assert {name for name, value in config.items() if value is None} <= may_be_open
    assert "auto" not in config.values()
    assert config["image_size"] == 32  # the pictures are 24 x 20
    assert (config["model"], config["stem"], config["attention"]) == ("densenet_bc_40_12", "cifar", "se")


def test_metrics_are_those_of_scikit_learn(trained: Run) -> None:
    table = pd.read_csv(trained.path / "predictions.csv", dtype={"label": str, "predicted": str})
    classes = ["a", "b", "c"]
    probabilities = table[[f"p:{name}" for name in classes]].to_numpy()
    test = trained.metrics["test"]
    assert test["n"] == test["groups"] == len(table) == 12
    assert test["accuracy"]["value"] == accuracy_score(table["label"], table["predicted"])
    assert test["balanced_accuracy"]["value"] == balanced_accuracy_score(table["label"], table["predicted"])
    assert test["macro_f1"]["value"] == pytest.approx(
        f1_score(table["label"], table["predicted"], average="macro")
    )
    assert test["log_loss"]["value"] == pytest.approx(log_loss(table["label"], probabilities))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    manifest = pd.read_csv(trained.path / "manifest.csv")
    assert set(table["path"]) == set(manifest.loc[manifest["split"] == "test", "path"])


def test_the_saved_weights_are_those_of_the_best_epoch(trained: Run) -> None:
    best = trained.history["val_accuracy"].max()
    assert trained.metrics["val"]["accuracy"]["value"] == pytest.approx(best, abs=0.17)  # one of 6 images
    checkpoints = trained.path / "checkpoints" / "best.safetensors"
    assert (
        hashlib.sha256(trained.weights.read_bytes()).hexdigest()
        == json.loads((trained.path / "classifier.json").read_text())["sha256"]["model.safetensors"]
    )
    assert checkpoints.stat().st_size == pytest.approx(trained.weights.stat().st_size, rel=0.01)


def test_the_classifier_repeats_the_predictions_of_the_run(trained: Run) -> None:
    classifier = excite.Classifier.load(trained.path)
    table = trained.predictions
    by_path = classifier.predict(list(table["path"]))
    opened = [Image.open(path) for path in table["path"]]
    by_picture = classifier.predict(opened)
    assert [p.label for p in by_path] == list(table["predicted"])
    for one, other, (_, row) in zip(by_path, by_picture, table.iterrows(), strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
        assert one.probabilities == pytest.approx({c: row[f"p:{c}"] for c in "abc"}, abs=1e-5)
        assert one.probability == max(one.probabilities.values())
        assert (one.path, other.path) == (row["path"], "")


def test_a_prediction_does_not_depend_on_the_other_images(trained: Run) -> None:
    classifier = excite.Classifier.load(trained)
    paths = list(trained.predictions["path"])[:5]
    together = classifier.predict(paths)
    alone = [classifier.predict(path)[0] for path in paths]
    for one, other in zip(together, alone, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_evaluating_the_run_on_its_own_test_images_repeats_its_metrics(trained: Run) -> None:
    again = evaluate_run(trained)
    assert again.split == "test"
    assert again.metrics["confusion"] == trained.metrics["test"]["confusion"]
    assert again.metrics["log_loss"]["value"] == pytest.approx(trained.metrics["test"]["log_loss"]["value"])


@pytest.mark.slow
def test_evaluation_aligns_classes_by_name(trained: Run, tmp_path: Path) -> None:
    """A folder without the first class: indices shift, names do not."""
    manifest = trained.manifest.table
    for row in manifest[manifest["label"] != "a"].itertuples():
        (tmp_path / "some" / row.label).mkdir(parents=True, exist_ok=True)
        shutil.copy(row.path, tmp_path / "some" / row.label)
    result = evaluate_run(trained, str(tmp_path / "some"))
    assert result.metrics["n"] == 40
    assert result.metrics["accuracy"]["value"] > 0.9
    of_nobody = result.metrics["classes"]["a"]
    assert of_nobody["n"] == 0
    assert of_nobody["sensitivity"] == {"value": None, "reason": "no image belongs to this class"}
    (tmp_path / "some" / "c").rename(tmp_path / "some" / "Zebra")
    with pytest.raises(ExciteError, match="class 'Zebra' is not a class of the run: a, b, c"):
        evaluate_run(trained, str(tmp_path / "some"))


def test_evaluation_notices_changed_test_images(trained: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained.path, copy)
    text = (copy / "manifest.csv").read_text()
    (copy / "manifest.csv").write_text(re.sub(r"(,test,)[0-9a-f]{8}", r"\g<1>00000000", text))
    with pytest.raises(ExciteError, match="have changed since the training"):
        evaluate_run(Run(copy))


@pytest.mark.parametrize("harm", ["truncate", "swap", "remove"])
def test_changed_weights_are_refused(trained: Run, tmp_path: Path, harm: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained.path, copy)
    weights = copy / "model.safetensors"
    if harm == "truncate":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif harm == "swap":
        shutil.copy(copy / "checkpoints" / "previous.safetensors", weights)
    else:
        weights.unlink()
    with pytest.raises(ExciteError, match=r"model\.safetensors: is missing or not the file"):
        excite.Classifier.load(copy)


@pytest.mark.slow
def test_a_manifest_repeats_its_split(trained: Run, tmp_path: Path) -> None:
    again = excite.train(
        trained.path / "manifest.csv", out=str(tmp_path / "again"), **(QUICK | {"epochs": 4})
    )
    columns = ["path", "label", "split", "sha256"]
    pd.testing.assert_frame_equal(again.manifest.table[columns], trained.manifest.table[columns])
    assert again.weights.read_bytes() == trained.weights.read_bytes()  # the same seed, the same machine


@pytest.mark.slow
def test_sources_are_not_touched(pictures: Path, tmp_path: Path) -> None:
    def state() -> dict[str, tuple[str, int]]:
        return {
            str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in pictures.rglob("*")
            if path.is_file()
        }

    before = state()
    excite.train(pictures, out=str(tmp_path / "run"), epochs=1, quiet=True, **SMALL)
    assert state() == before


@pytest.mark.slow
def test_groups_of_the_file_name_stay_together_and_are_counted(pictures: Path, tmp_path: Path) -> None:
    run = excite.train(
        pictures, out=str(tmp_path / "run"), group_pattern=r"^(p\d)_", epochs=1, quiet=True, **SMALL
    )
    table = run.manifest.table
    assert run.config.split == "grouped"
    assert table.groupby("group")["split"].nunique().eq(1).all()
    test = run.metrics["test"]
    assert test["groups"] == table.loc[table["split"] == "test", "group"].nunique() < test["n"]


@pytest.mark.slow
def test_unreadable_files_are_left_out_up_to_max_unreadable(pictures: Path, tmp_path: Path) -> None:
    (pictures / "a" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ExciteError, match=r"1 of 61 files are unreadable.*broken\.png"):
        excite.train(pictures, out=str(tmp_path / "run"), quiet=True, **SMALL)
    run = excite.train(
        pictures, out=str(tmp_path / "run"), max_unreadable=0.05, epochs=1, quiet=True, **SMALL
    )
    with (run.path / "manifest.csv").open(newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert len(paths) == 60
    assert not any("broken" in path for path in paths)


@pytest.mark.slow
@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_unequal_classes_can_be_balanced(tmp_path: Path, balance: str) -> None:
    from tests.conftest import make_pictures

    folder = make_pictures(tmp_path / "pictures", classes=2, each=40)
    for path in sorted((folder / "b").iterdir())[10:]:
        path.unlink()
    run = excite.train(folder, out=str(tmp_path / "run"), balance=balance, **(QUICK | {"epochs": 6}))
    assert run.metrics["test"]["balanced_accuracy"]["value"] == 1


@pytest.mark.slow
def test_weights_from_a_file_are_loaded_and_reported(
    trained: Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = QUICK | {"epochs": 1, "lr": 0.0, "ema": 0.0, "weights": str(trained.weights), "quiet": False}
    run = excite.train(pictures, out=str(tmp_path / "run"), **options)
    assert "tensors loaded" in capsys.readouterr().err
    assert run.metrics["test"]["accuracy"]["value"] > 0.6  # a learning rate of zero: it knew before


@pytest.mark.slow
def test_another_library_s_network_trains_as_it_is(pictures: Path, tmp_path: Path) -> None:
    run = excite.train(
        pictures, out=str(tmp_path / "run"), model="timm:resnet10t", image_size=32, **(QUICK | {"epochs": 1})
    )
    assert run.config.attention == "none"
    assert "attention" not in json.loads((run.path / "classifier.json").read_text())["architecture"]
    assert excite.Classifier.load(run).predict(str(next(pictures.rglob("*.png"))))[0].label in "abc"
