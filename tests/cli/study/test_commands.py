"""The commands of excite study, from the plan to the report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.study.plan import Plan, parse_arm
from excite.study.study import Study, begin
from excite.system.progress import Display
from tests.conftest import Command
from tests.study.small_study import BASE, NET, begun, trained

FLAGS = ("--epochs", 1, "--batch-size", 8, "--precision", "float32", "--image-size", 16, "--device", "cpu")
FLAGS += ("--set", "model_options.block_config=[1, 1]", "--set", "model_options.growth_rate=4")
FLAGS += ("--set", "model_options.init_channels=4", "--augment", "quick")


@pytest.mark.slow
def test_a_study_from_plan_to_report(excite_command: Command, data: Path, tmp_path: Path) -> None:
    place = tmp_path / "study"
    arms = ("--arm", f"plain:{NET}", "--arm", f"se:{NET}+se")
    planned = excite_command("study", "run", data, *arms, *FLAGS, "--seeds", 2, "--out", place, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "4 cells: 2 arms, 2 seeds; 0 done, 4 new" in planned.stderr
    assert "cannot detect any possible difference in balanced accuracy" in planned.stderr
    assert "nothing was written" in planned.stdout
    assert not place.exists()
    plan = Plan(BASE.replace(data=str(data)), [parse_arm(f"plain:{NET}"), parse_arm(f"se:{NET}+se")], seeds=2)
    trained(begin(plan, place, None, Display())[0])
    before = {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}
    again = excite_command("study", "run", data, *arms, *FLAGS, "--seeds", 3, "--out", place, "--dry-run")
    assert "6 cells: 2 arms, 3 seeds; 4 done, 2 new" in again.stderr, again.stderr
    assert {file: file.read_bytes() for file in place.rglob("*") if file.is_file()} == before
    resumed = excite_command("study", "resume", place)
    assert resumed.returncode == 0, resumed.stderr
    assert "against plain" in resumed.stdout
    assert (place / "study.html").exists()
    document = json.loads(excite_command("study", "resume", place, "--json").stdout)
    assert (document["done"], document["planned"], document["metric"]) == (4, 4, "balanced_accuracy")
    assert len(document["verdicts"]) == len(document["looks"]) == 1  # the same results: one look
    status = json.loads(excite_command("study", "status", place, "--json").stdout)
    assert (status["done"], status["planned"], status["looks"]) == (4, 4, document["looks"])
    assert not {"verdicts", "comparisons", "arms"} & set(status)
    added = excite_command("study", "add", place, "--seeds", 3)
    assert "new cells 2" in added.stdout
    out = excite_command(
        "study", "export", place, "--out", tmp_path / "out", "--predictions", "--baseline", "se"
    )
    assert out.returncode == 0, out.stderr
    assert len(list((tmp_path / "out" / "predictions").rglob("*.csv"))) == 4
    assert "against se" in (tmp_path / "out" / "study.md").read_text()
    assert "against se" in out.stdout
    assert "looked at once, with 4 finished cells" in out.stdout  # more cells are planned, none is finished


def test_status_counts_the_cells_and_shows_no_results(
    excite_command: Command, data: Path, tmp_path: Path
) -> None:
    study = begun(data, tmp_path / "study", seeds=3)
    found = excite_command("study", "status", study.folder, "--cells")
    assert found.returncode == 0, found.stderr
    assert "0 of 6 cells done, 0 running" in found.stdout
    assert found.stdout.count("waiting") == 6
    assert "results  no look yet; excite study export computes the differences" in found.stdout
    document = json.loads(excite_command("study", "status", study.folder, "--json", "--cells").stdout)
    assert (document["done"], document["planned"], document["looks"]) == (0, 6, [])
    cells = {(row["arm"], row["seed"], row["fold"], row["state"]) for row in document["each_cell"]}
    assert cells == {(arm, seed, 0, "waiting") for arm in ("plain", "se") for seed in range(3)}
    assert Study.open(study.folder).store.looks(study.name) == []


def test_add_counts_new_cells_and_keeps_the_arms(excite_command: Command, data: Path, tmp_path: Path) -> None:
    study = begun(data, tmp_path / "study", seeds=2)
    more = excite_command("study", "add", study.folder, "--seeds", 4, "--arm", f"eca:{NET}+eca")
    assert more.returncode == 0, more.stderr
    assert "new cells 8" in more.stdout  # two further seeds of two arms, and four of the new one
    assert f"next      excite study resume {study.folder}" in more.stdout
    assert list(Study.open(study.folder).arms) == ["plain", "se", "eca"]
    again = excite_command("study", "add", study.folder, "--seeds", 4)
    assert "new cells 0" in again.stdout


@pytest.mark.slow
def test_export_agrees_with_the_cells_of_the_store(
    excite_command: Command, done: Study, tmp_path: Path
) -> None:
    found = excite_command("study", "export", done.folder, "--metric", "accuracy", "--out", tmp_path / "out")
    assert found.returncode == 0, found.stderr
    values = {
        arm: np.mean(
            [row.result["figures"]["accuracy"] for row in done.store.results(done.name) if row.arm == arm]
        )
        for arm in ("plain", "se")
    }
    for arm, value in values.items():
        line = next(line for line in found.stdout.splitlines() if line.startswith(f"{arm} "))
        assert f"{100 * value:.1f} %" in line
    [pair] = csv.DictReader((tmp_path / "out" / "comparisons.csv").open())
    assert float(pair["difference"]) == pytest.approx(values["se"] - values["plain"])
    names = {"study.html", "study.md", "cells.csv", "comparisons.csv"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert all(f"{tmp_path / 'out' / name}" in found.stdout for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metric", "acuracy"), "--metric: unknown metric 'acuracy' (did you mean 'accuracy'?)"),
        (("--baseline", "plan"), "--baseline: unknown arm 'plan' (did you mean 'plain'?)"),
    ],
)
def test_export_refuses_unknown_names_before_a_look(
    excite_command: Command, data: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    study = begun(data, tmp_path / "study", seeds=1)
    found = excite_command("study", "export", study.folder, *arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert message in found.stderr
    assert not (study.folder / "study.html").exists()


def test_nothing_is_exported_among_the_images(excite_command: Command, data: Path, tmp_path: Path) -> None:
    study = begun(data, tmp_path / "study", seeds=1)
    found = excite_command("study", "export", study.folder, "--out", data / "a")
    assert found.returncode == 2
    assert "is inside the data, where nothing may be written" in found.stderr
    assert not [path for path in (data / "a").iterdir() if path.suffix != ".png"]
