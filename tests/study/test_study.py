"""A whole study: begun, gone on with, added to, killed, exported; cells as excite train would train them."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

import excite
from excite.config.train_config import TrainConfig
from excite.errors import ExciteError
from excite.runs.run import Run
from excite.study.plan import Arm, Plan, parse_arm
from excite.study.results.analysis import analyze
from excite.study.results.report import arm_rows, write_study
from excite.study.running import worker
from excite.study.running.forecast import ArmCost, smallest_difference
from excite.study.running.live_table import LiveTable
from excite.study.running.local import WorkerPool, choose_pool
from excite.study.running.orchestrate import Resources, continue_study, outlook
from excite.study.store.store import Store
from excite.study.study import Study, add, begin
from excite.system.progress import Display
from tests.conftest import Command, make_pictures

NET = "densenet_bc_40_12"
SMALL = {"block_config": [1, 1], "growth_rate": 4, "init_channels": 4}
BASE = TrainConfig(
    epochs=1,
    batch_size=8,
    device="cpu",
    precision="float32",
    image_size=16,
    model_options=SMALL,
    augment="quick",
)
ARMS = [parse_arm(f"plain:{NET}"), parse_arm(f"se:{NET}+se,reduction=4,placement=block")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("data") / "pictures", classes=2)


def begun(data: Path, folder: Path, **options: object) -> Study:
    plan = Plan(BASE.replace(data=str(data)), ARMS, **{"seeds": 2, **options})  # type: ignore[arg-type]
    return begin(plan, folder, None, Display())[0]


def trained(study: Study) -> Study:
    worker.work(study, device="cpu", threads=1, name="test")
    return study


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return trained(begun(data, tmp_path_factory.mktemp("studies") / "done", folds=2))


def runs_of(study: Study) -> dict[tuple[str, int, int], Run]:
    rows = study.store.results(study.name)
    return {(row.arm, row.seed, row.fold): Run(study.folder / row.result["run"]) for row in rows}


@pytest.mark.slow
def test_every_cell_is_done_and_its_result_is_that_of_its_run(done: Study) -> None:
    runs = runs_of(done)
    assert set(runs) == {(arm, seed, fold) for arm in ("plain", "se") for seed in (0, 1) for fold in (0, 1)}
    for row in done.store.results(done.name):
        run = runs[row.arm, row.seed, row.fold]
        assert row.result["figures"]["accuracy"] == run.metrics["test"]["accuracy"]["value"]
        assert row.result["n"] == len(run.predictions) == 20
    assert done.store.counts(done.name)["done"] == 8


def test_the_same_seed_and_fold_mean_the_same_split(done: Study) -> None:
    """And the same start, batches and augmentation: running/test_worker.py."""
    runs = runs_of(done)
    for seed in (0, 1):
        for fold in (0, 1):
            plain, se = (runs[arm, seed, fold] for arm in ("plain", "se"))
            assert plain.manifest.table.equals(se.manifest.table)
            assert plain.config.seed == se.config.seed == seed
    tested = [set(runs["plain", 0, fold].predictions["path"]) for fold in (0, 1)]
    assert not tested[0] & tested[1]
    assert (
        runs["plain", 0, 0].manifest.table["split"].tolist()
        != runs["plain", 1, 0].manifest.table["split"].tolist()
    )


@pytest.mark.slow
def test_a_cell_can_be_trained_again_by_itself(done: Study, tmp_path: Path) -> None:
    cell = runs_of(done)["se", 1, 0]
    options = cell.config.to_dict() | {"out": str(tmp_path / "again"), "quiet": True}
    again = excite.train(options.pop("data"), **options)
    for name, value in load_file(cell.weights).items():
        assert (load_file(again.weights)[name] == value).all(), name


def test_what_is_written_agrees_with_the_store(done: Study, tmp_path: Path) -> None:
    analysis = write_study(done, tmp_path)
    page, text = (tmp_path / "study.html").read_text(), (tmp_path / "study.md").read_text()
    rows = list(csv.DictReader((tmp_path / "cells.csv").open()))
    assert [row["state"] for row in rows] == ["done"] * 8
    mean = np.mean([float(row["balanced_accuracy"]) for row in rows if row["arm"] == "se"])
    for content in (page, text):
        assert f"{100 * mean:.1f} %" in content
        assert "against plain" in content
        assert not re.search(
            r"\d (ms|s)\b", content
        )  # cells train beside different work: times compare no arms
    assert not [row for row in arm_rows(analysis) if {"step", "seconds"} & set(row)]
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    for name in ("learning-loss", "learning-accuracy", "cells"):
        assert f'id="{name}"' in page
    [pair] = csv.DictReader((tmp_path / "comparisons.csv").open())
    assert ('id="forest"' in page) == (pair["low"] != "")
    gaps = [
        np.mean(
            [
                float(r["balanced_accuracy"]) * s
                for r in rows
                for a, s in (("se", 2), ("plain", -2))
                if r["arm"] == a
            ]
        )
    ]
    assert float(pair["difference"]) == pytest.approx(gaps[0])
    assert [len(look.cells) for look in analysis.looks] == [8]
    assert analysis.done == 8


def test_names_in_a_page_are_escaped_and_a_table_stays_one(data: Path, tmp_path: Path) -> None:
    study = begun(data, tmp_path / "a&b<i>")
    write_study(study)
    page = (study.folder / "study.html").read_text()
    assert "a&amp;b&lt;i&gt;" in page
    assert "<i>" not in page
    assert "No pair of arms has finished cells yet" in page


@pytest.mark.parametrize("name", ["what?", "a%20b", "#1 & 'x' \"y\"; z", "猫 [b]", "$HOME", "-h", "a@b:c"])
def test_the_database_lies_in_the_folder_whatever_its_name(data: Path, tmp_path: Path, name: str) -> None:
    study = begun(data, tmp_path / "studies" / name, seeds=1)
    assert [path.name for path in (tmp_path / "studies").iterdir()] == [name]
    assert (study.folder / "study.db").is_file()
    assert len(Study.open(study.folder).store.cells(study.name)) == 2
    again = Store(study.store.url)  # as a worker opens it
    assert len(again.cells(study.name)) == 2
    again.close()


def test_a_study_that_can_show_nothing_says_so(data: Path, tmp_path: Path) -> None:
    """Two seeds with 4 images in the test: Student's quantile at one degree of freedom is 12.7."""
    study = begun(data, tmp_path / "study", seeds=2)
    assert smallest_difference(study, 1.0, 2)[0] > 1
    said = outlook(study, WorkerPool(("cpu",), 1), {arm: ArmCost(1.0, None) for arm in study.arms}, 4, 1.0)
    assert "cannot detect any possible difference in balanced accuracy" in said
    assert "points" not in said
    said = outlook(study, WorkerPool(("cpu",), 1), {arm: ArmCost(1.0, None) for arm in study.arms}, 4, 0.001)
    assert "can detect a difference of" in said


@pytest.mark.slow
def test_seeds_and_arms_are_added_and_what_is_trained_stays(data: Path, tmp_path: Path) -> None:
    study = trained(begun(data, tmp_path / "study", seeds=1))
    before = {key: run.weights.stat().st_mtime_ns for key, run in runs_of(study).items()}
    assert add(study, [], 2, Display()) == 2
    assert add(study, [Arm("eca", {"model": NET, "attention": "eca"})], 1, Display()) == 2
    trained(Study.open(study.folder))
    runs = runs_of(study)
    assert len(runs) == 6
    assert all(runs[key].weights.stat().st_mtime_ns == time for key, time in before.items())
    # The plan as a whole, with more in it, is the same study.
    again, new = begin(Plan(BASE.replace(data=str(data)), ARMS, seeds=3), study.folder, None, Display())
    assert (again.name, new) == (study.name, 3)


class Quiet(LiveTable):
    """Stops the driver when it first shows a state with this number of finished cells."""

    def __init__(self, stop_at: int = -1) -> None:
        self.stop_at = stop_at

    def show(self, study: Study) -> None:
        if study.store.counts(study.name)["done"] == self.stop_at:
            raise ExciteError("stopped", exit_code=130)


def test_results_are_looked_at_when_they_are_complete_and_not_before(data: Path, tmp_path: Path) -> None:
    """An interrupted driver reports no differences; the same results twice are one look, new ones another."""
    study = begun(data, tmp_path / "study", seeds=1)
    with pytest.raises(ExciteError, match="stopped"):
        continue_study(study, Resources("cpu", 1), None, Quiet(stop_at=0))
    trained(study)
    assert study.store.looks(study.name) == []
    assert not (study.folder / "study.html").exists()
    continue_study(study, Resources("cpu", 1), None, Quiet())
    analyze(study, "accuracy", "se")
    assert [len(look.cells) for look in study.store.looks(study.name)] == [2]
    assert "looked at once, with 2 finished cells" in (study.folder / "study.html").read_text()
    assert add(study, [], 2, Display()) == 2
    analysis = analyze(trained(study))
    assert [(len(look.cells), look.seeds) for look in analysis.looks] == [(2, 1), (4, 2)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": {"epochs": 2}}, "epochs was 1 when the study began, and is 2 now"),
        ({"arms": [ARMS[0], parse_arm(f"se:{NET}+se,reduction=2")]}, "se: attention_options was"),
        ({"folds": 2}, "folds was None when the study began"),
        ({"base": {"data": "other"}}, "the images differ from those at the start"),
    ],
)
def test_a_plan_that_has_changed_is_refused(
    data: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    study = begun(data, tmp_path / "study")
    options = {**change}
    others = options.pop("base", {"data": str(data)})
    if others == {"data": "other"}:
        others = {"data": str(make_pictures(tmp_path / "other", classes=2, each=22))}
    base = BASE.replace(**{"data": str(data), **others})  # type: ignore[dict-item]
    plan = Plan(base, options.pop("arms", ARMS), seeds=2, **options)  # type: ignore[arg-type]
    with pytest.raises(ExciteError, match=message):
        begin(plan, study.folder, None, Display())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x:densnet121", "arm 'x'.*unknown model 'densnet121'.*did you mean"),
        (f"x:{NET}+sse1", "arm 'x'.*unknown attention 'sse1'"),
        (f"x:{NET}+se,ratio=4", "unknown option 'ratio'"),
        (f"x:{NET}+se,attention_options.ratio=4", "arm 'x'.*unknown option 'ratio'"),
        ("x:cifar_resnet20+se,reduction=64", "arm 'x'.*reduction 64"),
        (f"x:{NET},weights=/nowhere.safetensors", "arm 'x'.*/nowhere.safetensors"),
        (f"x:{NET},augment_options.rotate=4", "arm 'x'.*unknown augmentation 'rotate'"),
    ],
)
def test_an_arm_that_cannot_be_built_is_found_before_anything_is_written(
    data: Path, tmp_path: Path, text: str, message: str
) -> None:
    base, first = BASE.replace(data=str(data)), ARMS[0]
    if "resnet" in text:
        base, first = base.replace(model_options={}), parse_arm("plain:cifar_resnet20")
    with pytest.raises(ExciteError, match=message) as found:
        begin(Plan(base, [first, parse_arm(text)]), tmp_path / "study", None, Display())
    assert found.value.exit_code == 2
    assert not (tmp_path / "study").exists()


def test_a_folder_of_something_else_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ExciteError, match="contains files that do not belong"):
        begun(data, tmp_path)
    with pytest.raises(ExciteError, match="contains no study"):
        Study.open(tmp_path)


def test_a_cell_that_fails_twice_is_named_with_its_log(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from excite.study.running.local import refuse_failed

    study = begun(data, tmp_path / "study", seeds=1)
    real, tries = worker.run_experiment, []

    def fails(config: TrainConfig, **options: object) -> object:
        if config.attention == "se":
            tries.append(config.out)
            raise ValueError("no such thing")
        return real(config, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "run_experiment", fails)
    trained(study)
    assert len(tries) == 2
    assert study.store.counts(study.name) == {"waiting": 0, "running": 0, "done": 1, "failed": 1}
    with pytest.raises(
        ExciteError, match="1 cell failed twice, for example se with seed 0: ValueError: no such thing"
    ) as found:
        refuse_failed(study)
    assert "no such thing" in Path(str(found.value.where)).read_text()


def test_a_worker_that_was_asked_to_stop_gives_its_cell_back(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = begun(data, tmp_path / "study", seeds=1)

    def stopped(config: TrainConfig, **options: object) -> object:
        assert study.store.counts(study.name)["running"] == 1
        raise ExciteError("stopped after 0 epochs", exit_code=143)

    monkeypatch.setattr(worker, "run_experiment", stopped)
    with pytest.raises(ExciteError, match="stopped"):
        trained(study)
    assert study.store.counts(study.name) == {"waiting": 2, "running": 0, "done": 0, "failed": 0}


def test_what_a_killed_worker_left_half_written_is_cleared_away(
    data: Path, tmp_path: Path, done: Study
) -> None:
    study = begun(data, tmp_path / "study", seeds=1, folds=2)
    place = worker.cell_folder(study.folder, "plain", 0, 0)
    place.mkdir(parents=True)
    (place / "manifest.csv").write_text("path")  # before config.yaml
    trained(study)
    same = {(row.arm, row.seed, row.fold): row.probabilities for row in done.store.results(done.name)}
    for row in study.store.results(study.name):
        assert row.probabilities == same[row.arm, row.seed, row.fold]


def test_workers_are_as_many_as_fit() -> None:
    cores = len(os.sched_getaffinity(0))
    assert choose_pool("cpu", None, None, 100).devices == ("cpu",) * cores
    assert choose_pool("cpu", None, None, 1).devices == ("cpu",)
    assert choose_pool("cpu", 3, None, 100).devices == ("cpu",) * 3
    assert choose_pool("cpu", None, 10**15, 100).devices == ("cpu",)  # more memory than there is
    assert choose_pool("cpu", None, None, 1).threads == choose_pool("cpu", None, None, 100).threads


FLAGS = ("--epochs", 1, "--batch-size", 8, "--precision", "float32", "--image-size", 16, "--device", "cpu")
FLAGS += ("--set", "model_options.block_config=[1, 1]", "--set", "model_options.growth_rate=4")
FLAGS += ("--set", "model_options.init_channels=4", "--augment", "quick")


@pytest.mark.slow
def test_the_verb_from_plan_to_report(excite_command: Command, data: Path, tmp_path: Path) -> None:
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run",), "no data given"),
        (("run", "digits"), "a study needs at least one arm"),
        (("run", "digits", "--plan", "gates"), "did you mean 'gate'"),
        (("run", "digits", "--plan", "gate", "--arm", "a:b"), "are mutually exclusive"),
        (("run", "digits", "--arm", "a:b", "--metric", "acuracy"), "did you mean 'accuracy'"),
        (("status", "nowhere"), "folder does not exist"),
        (("add", "nowhere"), "nothing to add"),
        (("run", "digits", "--arm", "a:b", "--store", "nonsense"), "unknown model 'b'"),
    ],
)
def test_bad_usage_is_one_line(excite_command: Command, arguments: tuple[str, ...], message: str) -> None:
    found = excite_command("study", *arguments)
    assert found.returncode == 2
    assert message in found.stderr
    assert found.stderr.strip().splitlines()[-1].startswith("excite: error: ")


@pytest.mark.slow
def test_killed_workers_and_a_killed_driver_change_no_result(data: Path, tmp_path: Path, done: Study) -> None:
    """Both -9; the long run with thirty kills is benchmarks/study_kills.py."""
    study = begun(data, tmp_path / "study", seeds=1, folds=2)
    call = [
        sys.executable,
        "-m",
        "excite",
        "study",
        "resume",
        str(study.folder),
        "--jobs",
        "2",
        "--lease",
        "2",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def drive() -> subprocess.Popen[bytes]:
        return subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    driver = drive()
    os.kill(running_worker(study), signal.SIGKILL)
    running_worker(study)
    driver.kill()
    driver.wait()
    driver = drive()
    assert driver.wait(timeout=600) == 0
    assert study.store.counts(study.name)["done"] == 4
    same = {(row.arm, row.seed, row.fold): row.probabilities for row in done.store.results(done.name)}
    for row in study.store.results(study.name):
        assert row.probabilities == same[row.arm, row.seed, row.fold]


def running_worker(study: Study) -> int:
    """The process of a worker that is at a cell."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        for cell in study.store.cells(study.name):
            if cell.state == "running":
                name = cell.worker.partition("@")[0]
                found = subprocess.run(
                    ["pgrep", "-f", name], capture_output=True, text=True, check=False
                ).stdout.split()
                if found:
                    return int(found[0])
        time.sleep(0.05)
    raise AssertionError("no worker began")
