"""The commands on images with several labels: train, predict, evaluate, report, split, and audit."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import excite
from excite.runs.run import Run
from tests.conftest import LABELS, SMALL, Command, make_labeled_pictures


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_labeled_pictures(tmp_path_factory.mktemp("labels") / "pictures")


@pytest.fixture(scope="module")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    options: dict[str, Any] = {**SMALL, "epochs": 10, "lr": 0.01, "augment": "none", "quiet": True}
    options |= {"label_columns": "red,green,blue", "group_column": "patient", "subgroups": "site"}
    return excite.train(table, out=str(tmp_path_factory.mktemp("labels") / "run"), **options)


def test_the_report_and_the_card_show_every_label(trained: Run) -> None:
    page = (trained.path / "report.html").read_text(encoding="utf-8")
    card = (trained.path / "model_card.md").read_text(encoding="utf-8")
    value = f"{trained.metrics['test']['macro']['auroc']['value']:.3f}"
    for text in (page, card):
        assert value in text
        assert all(name in text for name in LABELS)
        assert "highest F1 on the validation images" in text
    assert "Reliability after calibration" in page
    assert "north" in page
    assert "multi-label" in card
    assert "3 labels" in repr(trained) or "AUROC" in repr(trained)


def test_predict_prints_labels(trained: Run, table: Path, excite_command: Command) -> None:
    images = [table.parent / f"{number:03}.png" for number in range(6)]
    shown = excite_command("predict", trained.path, *images)
    assert shown.returncode == 0, shown.stderr
    found = json.loads(excite_command("predict", trained.path, *images, "--json").stdout)
    assert list(found[0]) == ["path", "labels", "probabilities", "thresholds"]
    for each in found:
        expected = [n for n in LABELS if each["probabilities"][n] >= each["thresholds"][n]]
        assert each["labels"] == expected
    rows = list(
        csv.DictReader(
            excite_command("predict", trained.path, *images, "--format", "csv").stdout.splitlines()
        )
    )
    assert [row["predicted"] for row in rows] == ["|".join(each["labels"]) for each in found]
    assert list(rows[0]) == ["path", "predicted", "p:red", "p:green", "p:blue"]
    assert "written" in excite_command("predict", trained.path, *images, "--out", "found.xlsx").stdout
    refused = excite_command("predict", trained.path, images[0], "--set", "0.9")
    assert "prediction sets are for one class per image" in refused.stderr


def test_evaluate_measures_own_and_other_images(trained: Run, table: Path, excite_command: Command) -> None:
    own = json.loads(excite_command("evaluate", trained.path, "--json").stdout)["test"]
    test = trained.metrics["test"]
    assert own["macro"]["auroc"]["value"] == pytest.approx(test["macro"]["auroc"]["value"], abs=1e-6)
    assert own["thresholds"] == test["thresholds"]
    other = excite_command("evaluate", trained.path, table, "--group-column", "patient", "--out", "result")
    assert other.returncode == 0, other.stderr
    assert "seen in training" in other.stdout
    place = table.parent / "elsewhere.csv"
    place.write_text("path,green\n000.png,1\n001.png,0\n002.png,1\n003.png,0\n", encoding="utf-8")
    found = excite_command("evaluate", trained.path, place, "--json")
    metrics = json.loads(found.stdout)["all"]
    assert metrics["labels"]["red"]["n"] == 0
    assert metrics["labels"]["green"]["n"] == 4
    named = table.parent / "named.csv"
    named.write_text("path,label\n000.png,green|blue\n001.png,No Finding\n002.png,pink\n", encoding="utf-8")
    listed = excite_command("evaluate", trained.path, named, "--label-separator", "|", "--json")
    assert "labels that the run does not have are not evaluated: pink" in listed.stderr
    metrics = json.loads(listed.stdout)["all"]
    assert metrics["labels"]["red"] == metrics["labels"]["red"] | {
        "n": 3,
        "present": 0,
    }  # listed nowhere: absent


def test_evaluate_refuses_what_is_for_classes(trained: Run, table: Path, excite_command: Command) -> None:
    refused = excite_command("evaluate", trained.path, "--positive", "red")
    assert "--positive: is for one class per image" in refused.stderr
    table_of_classes = table.parent / "classes.csv"
    table_of_classes.write_text("path,label\n000.png,red\n001.png,blue\n", encoding="utf-8")
    refused = excite_command("evaluate", trained.path, table_of_classes, "--label-columns", "label")
    assert "is 'red', expected 0 or 1" in refused.stderr


def test_a_table_of_predictions_is_evaluated(trained: Run, excite_command: Command) -> None:
    file = trained.path / "predictions.csv"
    found = json.loads(excite_command("evaluate", file, "--json").stdout)["table"]
    assert found["macro"] == trained.metrics["test"]["macro"]
    chosen = excite_command(
        "evaluate",
        file,
        "--validation",
        trained.path / "val_predictions.csv",
        "--sensitivity",
        "0.8",
        "--json",
    )
    assert {each["criterion"] for each in json.loads(chosen.stdout)["table"]["thresholds"]} == {"sensitivity"}


def test_split_keeps_labels_and_audit_reads_them(
    table: Path, excite_command: Command, tmp_path: Path
) -> None:
    options = ("--label-columns", "red,green,blue", "--group-column", "patient", "--no-group-duplicates")
    split = excite_command("split", table, *options, "--out", tmp_path / "split.csv", "--json")
    assert split.returncode == 0, split.stderr
    header = (tmp_path / "split.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "label:red,label:green,label:blue" in header
    audit = excite_command(
        "audit", table, *options[:4], "--no-near-duplicates", "--json", "--out", tmp_path / "a"
    )
    assert json.loads(audit.stdout)["label_conflicts"] == []
    folder = excite_command("train", table.parent, *options[:2])
    assert "several labels are read from a CSV file" in folder.stderr


def test_runs_are_compared_label_by_label(trained: Run, excite_command: Command, tmp_path: Path) -> None:
    rows = list(csv.DictReader((trained.path / "predictions.csv").read_text(encoding="utf-8").splitlines()))
    for number, row in enumerate(rows):
        row["p:red"] = str((number * 37 % 101) / 101)  # knows nothing of red
    other = tmp_path / "other.csv"
    with other.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    found = json.loads(excite_command("compare", trained.path, other, "--json").stdout)
    [pair] = found["differences"]
    assert pair["labels"]["green"]["auroc"]["value"] == 0
    red = pair["labels"]["red"]["auroc"]
    truth = trained.metrics["test"]["labels"]["red"]["auroc"]["value"]
    assert red["first"] == pytest.approx(truth)
    assert red["value"] < -0.2
    assert pair["metrics"]["log_loss"]["value"] > 0
    shown = excite_command("compare", trained.path, other)
    assert "red: AUROC" in shown.stdout
    refused = excite_command("compare", trained.path, other, "--metrics", "accuracy")
    assert "--metrics: is for one class per image" in refused.stderr


def test_explain_shows_the_evidence_of_a_label_by_name(
    trained: Run, table: Path, excite_command: Command
) -> None:
    [found] = excite.explain(excite.Classifier.load(trained), str(table.parent / "000.png"), label="green")
    assert found.label == "green"
    assert found.adds_up
    odds = found.probability / (1 - found.probability)
    assert found.map.sum() + found.bias == pytest.approx(np.log(odds), abs=1e-3)  # the logit of a sigmoid
    shown = excite_command("explain", trained.path, table.parent / "000.png", "--out", "why")
    assert shown.returncode == 0, shown.stderr
    refused = excite_command("explain", trained.path, "--shortcuts", "--out", "why2")
    assert "this run has several labels" in refused.stderr


def test_a_study_and_folds_are_refused(table: Path, excite_command: Command) -> None:
    options = ("--label-columns", "red,green,blue", "--group-column", "patient")
    folds = excite_command("train", table, *options, "--folds", "3", "--no-near-duplicates")
    assert "--folds: is for one class per image" in folds.stderr
    arms = ("--arm", "a:cifar_resnet20", "--arm", "b:cifar_resnet20+se", "--no-near-duplicates")
    study = excite_command("study", "run", table, *options, *arms)
    assert "a study compares classifiers of one class per image" in study.stderr
