"""excite compare A1 A2 --with B1 B2 compares configurations over seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import excite
from excite.cli.app import run as excite_cli
from excite.config.train_config import TrainConfig
from excite.errors import ExciteError
from excite.runs.compare import compare_runs
from excite.runs.compare_configurations import compare_configurations

from .test_compare import table


def make_run(folder: Path, seed: int, *, first: int = 0, **options: object) -> Path:
    """A finished run with options and predictions for 60 images."""
    folder.mkdir()
    config = TrainConfig().replace(data="photos", model="densenet121", seed=seed, out=str(folder), **options)
    (folder / "config.yaml").write_text(config.to_yaml())
    (folder / "metrics.json").write_text("{}")
    random = np.random.default_rng(seed)
    truth = np.arange(60) // 2 % 2
    table(
        folder / "predictions.csv",
        1 / (1 + np.exp(1 - 2 * truth - random.normal(size=60))),
        truth,
        first=first,
    )
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Three runs without attention, and three with."""
    plain = [make_run(tmp_path / f"plain-{seed}", seed, attention="none") for seed in range(3)]
    return [*plain, *(make_run(tmp_path / f"se-{seed}", seed, attention="se") for seed in range(3, 6))]


def test_the_means_of_two_configurations_are_compared(runs: list[Path]) -> None:
    found = compare_configurations(runs[:3], runs[3:], ["accuracy", "log_loss"])
    accuracies = [row["accuracy"]["value"] for row in compare_runs(runs, ["accuracy"])["runs"]]
    value = found["metrics"]["accuracy"]["value"]
    assert value == pytest.approx(np.mean(accuracies[3:]) - np.mean(accuracies[:3]))
    assert (found["n"], found["groups"]) == (60, 30)
    assert found["differing_options"] == {"attention": ["none", "se"]}
    assert excite.compare(runs[:3], runs[3:], metrics=["accuracy", "log_loss"]) == found


def test_the_command_takes_the_runs_after_with(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = [*map(str, runs[:3]), "--with", *map(str, runs[3:])]
    assert excite_cli(["compare", *words, "--metrics", "accuracy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["first"], found["second"]) == ([*map(str, runs[:3])], [*map(str, runs[3:])])
    assert list(found["metrics"]) == ["accuracy"]
    assert excite_cli(["compare", "--metrics", "accuracy", *words]) == 0
    text = capsys.readouterr().out
    assert "for other seeds and other images like these" in text
    assert "attention: none in the first, se in the second" in text
    assert "warning" not in text
    assert excite_cli(["compare", *words[:-1]]) == 0
    assert "warning: 3 and 2 runs" in capsys.readouterr().out
    assert excite_cli(["compare", *map(str, runs[:2]), "--with"]) == 2
    assert "--with" in capsys.readouterr().err


def test_two_runs_are_two_networks_and_a_study_compares_their_configurations(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (pair,) = compare_runs([runs[0], runs[3]])["differences"]
    assert pair["differing_options"] == {"attention": ["none", "se"]}
    study = "excite study run photos --arm first:densenet121 --arm second:densenet121+se --seeds 5"
    assert pair["study"] == study
    assert excite_cli(["compare", str(runs[0]), str(runs[3])]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "compare these two networks, not their configurations" in text
    assert study in text
    (pair,) = compare_runs(runs[:2])["differences"]
    assert (pair["differing_options"], pair["study"]) == ({}, None)
    assert excite_cli(["compare", *map(str, runs[:2])]) == 0
    assert "the difference is between two trainings of it" in capsys.readouterr().out


def test_runs_that_make_no_comparison_of_configurations_are_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match=r"at least two runs on each side.*compares two networks"):
        compare_configurations(runs[:3], runs[3:4])
    with pytest.raises(ExciteError, match=r"plain-0: the run is named twice"):
        compare_configurations(runs[:3], [*runs[3:], runs[0]])
    with pytest.raises(ExciteError, match=r"in more than the seed: attention"):
        compare_configurations([runs[0], runs[3]], [runs[1], runs[4]])
    again = make_run(tmp_path / "again", 0, attention="none")
    with pytest.raises(ExciteError, match=r"has the same seed as .*plain-0: 0"):
        compare_configurations([*runs[:2], again], runs[3:])
    other = make_run(tmp_path / "other", 9, attention="se", first=8)
    with pytest.raises(ExciteError, match=r"tested on other images than .*plain-0: 52 of 60 are shared"):
        compare_configurations(runs[:3], [*runs[3:], other])
    with pytest.raises(ExciteError, match=r"did you mean 'accuracy'"):
        compare_configurations(runs[:3], runs[3:], ["acuracy"])
