"""Cross-validation: each image tested once, groups whole; neither processes nor interruptions matter."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file
from sklearn.metrics import balanced_accuracy_score, log_loss

import excite
from excite.cli.app import run as excite_cli
from excite.errors import ExciteError
from excite.runs.run import Run
from tests.conftest import SMALL, Command, make_pictures

QUICK: dict[str, Any] = {**SMALL, "epochs": 3, "quiet": True, "precision": "float32"}
PATTERN = r"^(p\d+)_"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("data") / "pictures", classes=2)


@pytest.fixture(scope="module")
def crossed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "crossed"
    return excite.train(data, out=str(out), folds=3, repeats=2, group_pattern=PATTERN, **QUICK)


@pytest.mark.slow
def test_every_image_is_tested_once_in_each_repeat_and_no_group_is_on_both_sides(crossed: Run) -> None:
    images = crossed.manifest.table
    for repeat in range(2):
        tested: list[str] = []
        for fold in range(3):
            parts = crossed.fold(repeat, fold).manifest.table
            assert set(parts["path"]) == set(images["path"])
            groups = parts.groupby("group")["split"].nunique()
            assert (groups == 1).all()
            assert set(parts["split"]) == {"train", "val", "test"}
            tested += list(parts.loc[parts["split"] == "test", "path"])
        assert sorted(tested) == sorted(images["path"])
    assert (images["fold_0"] != images["fold_1"]).any()


@pytest.mark.slow
def test_pooled_figures_are_scikit_learns(crossed: Run) -> None:
    test = crossed.metrics["test"]
    repeats = [crossed.predictions, pd.read_csv(crossed.path / "repeat-1" / "predictions.csv")]
    assert [len(table) for table in repeats] == [40, 40]
    for name, figure in (
        ("accuracy", lambda table: (table["label"] == table["predicted"]).mean()),
        ("balanced_accuracy", lambda table: balanced_accuracy_score(table["label"], table["predicted"])),
        ("log_loss", lambda table: log_loss(table["label"], table[["p:a", "p:b"]].to_numpy())),
    ):
        expected = np.mean([figure(table) for table in repeats])
        assert test[name]["value"] == pytest.approx(expected, abs=1e-9), name
        assert test[name]["low"] <= expected <= test[name]["high"]
    assert (test["n"], test["groups"], test["repeats"], test["duplicates_in_train"]) == (40, 10, 2, 0)
    areas = [row["auroc"] for row in crossed.metrics["folds"] if row["auroc"] is not None]
    assert test["auroc"]["mean_of_folds"] == {"value": pytest.approx(np.mean(areas)), "folds": len(areas)}


@pytest.mark.slow
def test_the_mean_over_folds_has_nadeau_and_bengios_variance(crossed: Run) -> None:
    rows = crossed.metrics["folds"]
    assert [(row["repeat"], row["fold"]) for row in rows] == [(r, f) for r in range(2) for f in range(3)]
    for row in rows:
        assert row["log_loss"] == Run(crossed.path / row["run"]).metrics["test"]["log_loss"]["value"]
    losses = np.array([row["log_loss"] for row in rows])
    ratio = sum(row["n"] for row in rows) / sum(row["train"] for row in rows)
    error = np.sqrt((1 / 6 + ratio) * losses.var(ddof=1))
    assert crossed.metrics["corrected"]["log_loss"]["mean"] == pytest.approx(losses.mean())
    assert crossed.metrics["corrected"]["log_loss"]["standard_error"] == pytest.approx(error)


@pytest.mark.slow
def test_a_fold_can_be_trained_again_from_its_own_configuration(crossed: Run, tmp_path: Path) -> None:
    fold = crossed.fold(1, 2)
    options = fold.config.to_dict() | {"out": str(tmp_path / "again"), "quiet": True}
    again = excite.train(options.pop("data"), **options)
    for name, value in load_file(fold.weights).items():
        assert (load_file(again.weights)[name] == value).all(), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": 2}, "--repeats: has no effect without cross-validation"),
        ({"jobs": 2}, "--jobs: has no effect without cross-validation"),
        ({"folds": 2, "split": "folder"}, "cross-validation draws its own folds"),
        ({"folds": 11, "group_pattern": PATTERN}, "class 'a' has 10 groups; 11 parts need at least 11"),
        ({"folds": 2, "val_fraction": 0.5}, "leave no training images"),
    ],
)
def test_impossible_cross_validations_are_refused_before_anything_is_written(
    data: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ExciteError, match=message):
        excite.train(data, out=str(tmp_path / "run"), **(QUICK | options))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_split_of_the_data_is_not_used(data: Path, tmp_path: Path) -> None:
    rows = [(str(path), path.parent.name, "test") for path in sorted(data.rglob("*.png"))]
    for number in range(0, len(rows), 2):
        rows[number] = (*rows[number][:2], "train")
    table = tmp_path / "data.csv"
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(table, index=False)
    run = excite.train(table, out=str(tmp_path / "run"), folds=2, **QUICK)
    assert run.metrics["test"]["n"] == len(rows)


@pytest.mark.slow
def test_two_jobs_torchrun_and_a_kill_give_the_same_metrics(
    excite_command: Command, data: Path, tmp_path: Path
) -> None:
    options = tmp_path / "options.yaml"
    options.write_text(yaml.safe_dump({**SMALL, "epochs": 1, "folds": 2, "precision": "float32"}))
    given = ("train", data, "--config", options)

    def crossed(name: str, *more: object, launcher: tuple[str, ...] = ()) -> str:
        done = excite_command(*given, "--out", tmp_path / name, *more, launcher=launcher)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("accuracy:") == 1  # one process speaks
        return (tmp_path / name / "predictions.csv").read_text()

    alone = crossed("alone")
    assert crossed("jobs", "--jobs", 2) == alone
    assert "Error" not in (tmp_path / "jobs" / "helper-1.log").read_text()
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
    assert crossed("torchrun", launcher=launcher) == alone

    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "excite", *map(str, given), "--out", str(killed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        begun = (line for line in process.stderr if re.match(r"split +\d+ training, \d+ validation", line))
        assert len(list(itertools.islice(begun, 2))) == 2  # the second fold, too
        process.send_signal(signal.SIGKILL)
    finished = killed / "repeat-0" / "fold-0" / "metrics.json"
    first = finished.stat().st_mtime_ns
    done = excite_command("train", "--resume", "--out", killed)
    assert done.returncode == 0, done.stderr
    assert (killed / "predictions.csv").read_text() == alone
    assert finished.stat().st_mtime_ns == first  # not trained again


@pytest.mark.slow
def test_the_metrics_of_repeats_are_printed(crossed: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert excite_cli(["train", "--resume", "--out", str(crossed.path)]) == 0
    said = capsys.readouterr().out
    assert "mean over 2 repeats" in said
    mean = crossed.metrics["corrected"]["accuracy"]["mean"]
    assert f"one training's accuracy: mean {mean:.1%} of 6 folds" in said
