"""The networks of a cross-validation as one classifier, and its evaluation."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import excite
from excite.cli.app import run as excite_cli
from excite.errors import ExciteError
from excite.evaluation.calibration import Calibration, fit_calibration, safe_log
from excite.models.head import head_path
from excite.runs.evaluate import evaluate_run
from excite.runs.run import Run
from tests.conftest import make_pictures

QUICK = {"quiet": True, "device": "cpu", "model": "cifar_resnet20", "image_size": 32, "precision": "float32"}
MISLABELLED = "p3_3.png"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two colors; one of them lies in the other's folder."""
    folder = make_pictures(tmp_path_factory.mktemp("data") / "pictures", classes=2, each=16)
    (folder / "a" / MISLABELLED).replace(folder / "b" / f"moved_{MISLABELLED}")
    return folder


@pytest.fixture(scope="module")
def tuned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Members that share no weights."""
    out = tmp_path_factory.mktemp("runs") / "tuned"
    return excite.train(data, out=str(out), folds=2, repeats=2, epochs=1, batch_size=8, positive="b", **QUICK)


@pytest.fixture(scope="module")
def probed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Members that share all but their heads."""
    place = tmp_path_factory.mktemp("probed")
    torch.manual_seed(0)
    model = excite.create_model("cifar_resnet20", num_classes=10)
    head = head_path(model)
    weights = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(head)}
    save_file(weights, place / "w.safetensors")
    options = {"recipe": "probe", "weights": str(place / "w.safetensors"), "out": str(place / "run")}
    options |= {"positive": "a"}
    return excite.train(data, folds=3, **QUICK, **options)


def calibrated(probabilities: np.ndarray, calibration: dict[str, Any]) -> np.ndarray:
    """p^(1/T) exp(b), scaled to sum to 1."""
    powers = probabilities ** (1 / calibration["temperature"]) * np.exp(calibration["intercept"])
    return powers / powers.sum(axis=-1, keepdims=True)


def member_probabilities(run: Run, files: list[str]) -> np.ndarray:
    """(M, N, C) by the folds' own classifiers."""
    folds = [Run(run.path / row["run"]) for row in run.metrics["folds"]]
    said = [excite.Classifier.load(fold).predict(files) for fold in folds]
    return np.array([[list(one.probabilities.values()) for one in answers] for answers in said])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tuned", "probed"])
def test_it_predicts_the_mean_of_its_members_and_their_disagreement(
    name: str, request: pytest.FixtureRequest
) -> None:
    run: Run = request.getfixturevalue(name)
    files = list(run.predictions["path"])
    ensemble = excite.Classifier.load(run)
    calibration = run.metrics["ensemble"]["calibration"]
    each = member_probabilities(run, files)
    assert len(each) == run.metrics["ensemble"]["members"] == len(run.metrics["folds"])
    mean = calibrated(each.mean(axis=0), calibration)
    said = ensemble.predict(files)
    assert np.array([list(one.probabilities.values()) for one in said]) == pytest.approx(mean, abs=1e-5)
    own = calibrated(each, calibration)
    point = run.metrics["ensemble"]["operating_point"]
    (other,) = set(ensemble.classes) - {point["label"]}
    for number, one in enumerate(said):
        best = ensemble.classes.index(one.label)
        assert one.disagreement is not None
        assert one.disagreement.members == len(each)
        assert one.disagreement.low == pytest.approx(own[:, number, best].min(), abs=1e-5)
        assert one.disagreement.high == pytest.approx(own[:, number, best].max(), abs=1e-5)
        positive = own[:, number, ensemble.classes.index(point["label"])]
        if np.abs(positive - point["threshold"]).min() > 1e-4:
            predicted = np.where(positive >= point["threshold"], point["label"], other)
            assert one.disagreement.disagreeing == (predicted != one.label).sum()
    assert excite.Classifier.load(run.fold(0, 0)).predict(files[0])[0].disagreement is None


@pytest.mark.slow
def test_probes_share_their_network(probed: Run, tuned: Run) -> None:
    assert len(excite.Classifier.load(probed).model.members.networks) == 1
    assert len(excite.Classifier.load(tuned).model.members.networks) == 4


@pytest.mark.slow
def test_temperature_and_thresholds_are_chosen_out_of_fold(tuned: Run) -> None:
    first, second = tuned.predictions, pd.read_csv(tuned.path / "repeat-1" / "predictions.csv")
    columns = ["p:a", "p:b"]
    second = second.set_index("path").loc[first["path"]]
    mean = (first[columns].to_numpy() + second[columns].to_numpy()) / 2
    held = tuned.predicted("val")
    assert list(held.paths or ()) == list(first["path"])
    found = tuned.metrics["ensemble"]
    calibration, held_out = fit_calibration(safe_log(mean), held.targets)
    assert found["calibration"] == calibration.to_dict()
    assert held.probabilities == pytest.approx(held_out, abs=1e-9)
    assert Calibration.from_dict(found["calibration"]) == excite.Classifier.load(tuned).calibration
    point = found["operating_point"]
    index = held.class_index(point["label"])
    # The threshold is the probability of an image, which this mean repeats but for rounding.
    called = held.probabilities[:, index] >= point["threshold"] - 1e-9
    assert called[held.targets == index].mean() == point["sensitivity"] >= 0.95
    assert (point["reached"], point["groups_needed"]) == (False, 19)  # of sixteen positive images
    assert (found["n"], found["groups"]) == (len(first), len(first))


@pytest.mark.slow
def test_the_command_shows_disagreement_in_every_format(
    probed: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    file = probed.predictions["path"].iloc[0]
    said = excite.Classifier.load(probed).predict(file)[0]
    assert said.disagreement is not None
    assert excite_cli(["predict", str(probed.path), file, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["disagreement"] == {
        "members": 3,
        "disagreeing": said.disagreement.disagreeing,
        "low": pytest.approx(said.disagreement.low),
        "high": pytest.approx(said.disagreement.high),
    }
    assert excite_cli(["predict", str(probed.path), file, "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert list(row)[-4:] == ["members", "members_disagreeing", "members_low", "members_high"]
    assert (row["members"], row["members_disagreeing"]) == ("3", str(said.disagreement.disagreeing))
    assert float(row["members_low"]) == pytest.approx(said.disagreement.low)
    assert excite_cli(["predict", str(probed.path), file]) == 0
    assert (
        f"{100 * said.disagreement.low:.1f}-{100 * said.disagreement.high:.1f} %" in capsys.readouterr().out
    )
    assert excite_cli(["predict", str(probed.fold(0, 0).path), file, "--json"]) == 0
    assert "disagreement" not in json.loads(capsys.readouterr().out)[0]


@pytest.mark.slow
def test_its_own_images_are_refused_and_recognized_in_other_data(
    probed: Run, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert excite_cli(["evaluate", str(probed.path)]) == 2
    assert "is a cross-validation: each of its images was evaluated" in capsys.readouterr().err
    for label in "ab":
        place = tmp_path / "new" / label
        place.mkdir(parents=True)
        shutil.copy(next((data / label).glob("p*.png")), place)
    new = make_pictures(tmp_path / "others", classes=2, each=2, size=(25, 21))
    for file in new.rglob("*.png"):
        shutil.copy(file, tmp_path / "new" / file.parent.name / f"new_{file.name}")
    assert excite_cli(["evaluate", str(probed.path), str(tmp_path / "new"), "--json"]) == 0
    told = capsys.readouterr()
    figures = json.loads(told.out)["all"]
    assert (figures["n"], figures["seen_in_training"]) == (6, 2)
    assert "2 of 6 images were seen in training by most members of the ensemble" in told.err
    chosen = figures["operating_point"]["chosen"]
    assert chosen == probed.metrics["ensemble"]["operating_point"]
    calibration = probed.metrics["ensemble"]["calibration"]
    assert figures["calibration"]["temperature"] == calibration["temperature"]


@pytest.mark.slow
def test_evaluation_and_prediction_agree(probed: Run, data: Path) -> None:
    found = evaluate_run(probed, str(data)).predictions
    said = excite.Classifier.load(probed).predict(list(found.paths or ()))
    shares = np.array([list(one.probabilities.values()) for one in said])
    assert found.probabilities == pytest.approx(shares, abs=1e-5)


@pytest.mark.slow
def test_changed_or_missing_members_are_refused(probed: Run, tmp_path: Path) -> None:
    moved = Run(shutil.copytree(probed.path, tmp_path / "moved"))
    excite.Classifier.load(moved)  # a folder may be moved as a whole
    member = moved.fold(0, 1)
    tensors = load_file(member.weights)
    save_file(
        {name: tensor + 0 for name, tensor in tensors.items()} | {"more": torch.ones(1)}, member.weights
    )
    with pytest.raises(ExciteError, match=r"fold-1/model\.safetensors: is missing or not the file"):
        excite.Classifier.load(moved)
    shutil.copy(moved.fold(0, 0).weights, member.weights)  # another training's, in order by itself
    shutil.copy(moved.fold(0, 0).path / "classifier.json", member.path)
    excite.Classifier.load(member)
    with pytest.raises(ExciteError, match="is not the network that the cross-validation trained"):
        excite.Classifier.load(moved)
    shutil.rmtree(member.path)
    with pytest.raises(ExciteError, match="fold-1"):
        excite.Classifier.load(moved)


@pytest.mark.slow
def test_an_unfinished_cross_validation_gets_one_line(
    probed: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = Run(shutil.copytree(probed.path, tmp_path / "begun"))
    for name in ("classifier.json", "metrics.json"):
        (begun.path / name).unlink()
    shutil.rmtree(begun.fold(0, 2).path)
    file = probed.predictions["path"].iloc[0]
    assert excite_cli(["predict", str(begun.path), file]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "the training has not finished; continue it with excite train --resume --out" in told


@pytest.mark.slow
def test_a_picture_in_the_wrong_folder_is_the_first_candidate(
    probed: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(probed.path / "label_candidates.csv", keep_default_na=False)
    found = probed.metrics["label_noise"]
    assert (found["unit"], found["units"], found["candidates"]) == ("images", 32, len(table))
    assert Path(table["path"][0]).name == f"moved_{MISLABELLED}"
    assert (table["label"][0], table["suggested"][0]) == ("b", "a")
    said = probed.predictions.set_index("path").loc[table["path"][0]]
    assert (table["p_label"][0], table["p_suggested"][0]) == pytest.approx((said["p:b"], said["p:a"]))
    assert "Label candidates" in (probed.path / "report.html").read_text()
    assert excite_cli(["train", "--resume", "--out", str(probed.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    said_of_labels = next(line for line in lines if line.startswith("labels "))
    assert f"{len(table)} of 32 images to review" in said_of_labels
    assert f"next      excite predict {probed.path} " in lines[-1]
