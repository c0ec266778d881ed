"""The end of ``excite train`` in 80 columns: result, at most three notes, and the next command."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from excite.cli import output
from excite.cli.result_output import MAX_NOTES, important_notes, print_result
from excite.evaluation.decision_rule import DecisionRule
from excite.reporting.run_facts import RunFacts
from excite.runs.run import Run
from tests.reporting.run_folders import simulated, write_cross_validation, write_run


class Terminal(Console):
    """A terminal of 80 columns."""

    def __init__(self, **options: Any) -> None:
        super().__init__(force_terminal=True, width=80, color_system=None, **options)


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "Console", Terminal)


def test_the_result_comes_first_and_the_next_command_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    test = run.metrics["test"]
    print_result(run)
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    found = re.fullmatch(
        r"RESULT    accuracy ([\d.]+)% \(([\d.]+)-([\d.]+)\) on (\d+) images of (\d+) groups", lines[0]
    )
    baseline = re.fullmatch(r"baseline  always '(.+)': accuracy ([\d.]+)%", lines[1])
    assert found
    assert baseline
    value, low, high, n, groups = map(float, found.groups())
    label, fraction = baseline.groups()
    counts = run.predictions["label"].value_counts(normalize=True)
    assert counts[label] == counts.max() == pytest.approx(float(fraction) / 100, abs=0.0051)
    assert (n, groups) == (test["n"], test["groups"])
    for shown, name in ((value, "value"), (low, "low"), (high, "high")):
        assert shown == pytest.approx(100 * test["accuracy"][name], abs=0.051)
    labels = [line[:10].strip() for line in lines if line[:10].strip()]
    assert labels[-3:] == ["run", "report", "next"]
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80


@pytest.mark.parametrize("classes", [2, 3])
def test_more_than_two_classes_have_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], classes: int
) -> None:
    names = ["ants", "bees", "wasps"][:classes]
    run = write_run(tmp_path / "run", names, test=simulated(names, 30, 2), resamples=50)
    print_result(run)
    out = capsys.readouterr().out
    assert ("ppv" in out) == (classes > 2)  # a column of the table alone
    assert all(("\n" + name in out) == (classes > 2) for name in names)


def test_colors_that_tell_the_classes_are_one_of_the_notes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", extras={"duplicates_in_train": 3})
    print_result(run, ["color of the frame: AUROC 0.91 (0.88 to 0.92)"])
    lines = capsys.readouterr().out.splitlines()
    notes = [line for line in lines if line.startswith("note ")]
    assert len(notes) <= 3
    assert notes[-1].startswith("note      Colors alone tell the classes: color of the frame: AUROC 0.91")
    assert lines.index(notes[-1]) < next(i for i, line in enumerate(lines) if line.startswith("run "))


def test_no_more_than_three_notes_are_shown_and_the_worst_are_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", extras={"duplicates_in_train": 3})
    audit = run.read_json("audit.json")
    shortcuts = [{"feature": f"feature {number}", "score": 0.9, "chance": 0.5} for number in range(5)]
    run.write_json("audit.json", audit | {"shortcuts": [*shortcuts]})
    notes = important_notes(RunFacts.of(run))
    assert len(notes) > MAX_NOTES == 3
    assert "3 of" in notes[0]
    print_result(run)
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note ")]
    assert len(shown) == 3


def test_a_cross_validation_shows_its_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_result(write_cross_validation(tmp_path / "run", folds=3))
    lines = capsys.readouterr().out.splitlines()
    assert sum(bool(re.match(r" *\d +\d +\d+ ", line)) for line in lines) == 3


def test_the_result_names_the_threshold_by_which_it_is_predicted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    point = run.metrics["test"]["operating_point"]
    print_result(run)
    shown = _labeled(capsys.readouterr().out, "threshold")
    found = re.match(r"malignant from ([\d.]+): sensitivity ([\d.]+)% .*, specificity ([\d.]+)% ", shown)
    assert found
    threshold, sensitivity, specificity = map(float, found.groups())
    positive = (run.predictions["label"] == "malignant").to_numpy()
    predicted = (run.predictions["p:malignant"] >= point["chosen"]["threshold"]).to_numpy()
    assert threshold == pytest.approx(point["chosen"]["threshold"], abs=0.00051)
    assert sensitivity == pytest.approx(100 * predicted[positive].mean(), abs=0.051)
    assert specificity == pytest.approx(100 * (~predicted)[~positive].mean(), abs=0.051)


def test_the_result_of_folds_names_their_thresholds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pooled = simulated(("benign", "malignant"), 60, 3)
    thresholds = np.where(pooled.group_codes % 2 == 0, 0.25, 0.75)
    ruled = dataclasses.replace(pooled, rule=DecisionRule("malignant", thresholds))
    print_result(write_cross_validation(tmp_path / "ruled", pooled=ruled))
    assert "malignant from the threshold of its fold up (0.25 to 0.75)" in _labeled(
        capsys.readouterr().out, "threshold"
    )
    print_result(write_cross_validation(tmp_path / "without", pooled=pooled))
    assert "\nthreshold" not in capsys.readouterr().out


def _labeled(out: str, label: str) -> str:
    """The text of a label, without its line breaks."""
    found = re.search(rf"^{label} +(.*(?:\n {{10}}.*)*)", out, re.MULTILINE)
    assert found
    return " ".join(found.group(1).split())


def test_the_result_tells_how_often_the_classifier_abstains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    print_result(run)
    shown = _labeled(capsys.readouterr().out, "abstains")
    pattern = r"below a confidence of ([\d.]+): coverage ([\d.]+)% .*, "
    found = re.match(pattern + r"selective accuracy ([\d.]+)% .* on (\d+) images", shown)
    assert found
    threshold, coverage, accuracy, answered = map(float, found.groups())
    table = run.predictions
    answers = table[["p:benign", "p:malignant"]].max(axis=1) >= threshold
    assert threshold == 0.6
    assert answered == answers.sum()
    assert coverage == pytest.approx(100 * answers.mean(), abs=0.051)
    correct = (table["predicted"] == table["label"])[answers]
    assert accuracy == pytest.approx(100 * correct.mean(), abs=0.051)


def test_the_next_command_names_an_image_relative_to_the_working_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    run = write_run(Path("run"))
    table = run.predictions
    table.loc[0, "path"] = str(tmp_path / "photos" / "1.png")
    table.to_csv(run.path / "predictions.csv", index=False)
    print_result(run)
    assert "next      excite predict run photos/1.png" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("attention", "shown"), [("none", False), ("se", True)])
def test_what_the_attention_does_is_a_next_command(
    attention: str, shown: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    (run.path / "config.yaml").write_text(run.config.replace(attention=attention).to_yaml())
    print_result(Run.open(run.path))
    lines = capsys.readouterr().out.splitlines()
    assert (f"          excite explain {run.path} --attention" in lines) == shown
