"""A study: its cells, added seeds and arms, changed plans, and workers that stop."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

import excite
from excite.config.train_config import TrainConfig
from excite.errors import ExciteError
from excite.study.plan import Arm, Plan, parse_arm
from excite.study.running import worker
from excite.study.store.store import Store
from excite.study.study import Study, add, begin, cell_folder
from excite.system.progress import Display
from tests.conftest import make_pictures
from tests.study.small_study import ARMS, BASE, NET, begun, runs_of, trained


@pytest.mark.slow
def test_every_cell_is_done_and_its_result_is_that_of_its_run(done: Study) -> None:
    runs = runs_of(done)
    assert set(runs) == {(arm, seed, fold) for arm in ("plain", "se") for seed in (0, 1) for fold in (0, 1)}
    for row in done.store.results(done.name):
        run = runs[row.arm, row.seed, row.fold]
        assert row.result["figures"]["accuracy"] == run.metrics["test"]["accuracy"]["value"]
        assert row.result["n"] == len(run.predictions) == 20
    assert done.store.counts(done.name)["done"] == 8


@pytest.mark.slow
def test_the_same_seed_and_fold_mean_the_same_split(done: Study) -> None:
    """Initial weights, batches, and augmentation are tested in running/test_worker.py."""
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["what?", "a%20b", "#1 & 'x' \"y\"; z", "猫 [b]", "$HOME", "-h", "a@b:c"])
def test_the_database_lies_in_the_folder_whatever_its_name(data: Path, tmp_path: Path, name: str) -> None:
    study = begun(data, tmp_path / "studies" / name, seeds=1)
    assert [path.name for path in (tmp_path / "studies").iterdir()] == [name]
    assert (study.folder / "study.db").is_file()
    assert len(Study.open(study.folder).store.cells(study.name)) == 2
    again = Store(study.store.url)  # as a worker opens it
    assert len(again.cells(study.name)) == 2
    again.close()


@pytest.mark.slow
def test_seeds_and_arms_are_added_and_trained_cells_are_kept(data: Path, tmp_path: Path) -> None:
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


def test_a_folder_with_other_files_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ExciteError, match="contains files that do not belong"):
        begun(data, tmp_path)
    with pytest.raises(ExciteError, match="contains no study"):
        Study.open(tmp_path)


def test_a_worker_that_stops_releases_its_cell(
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


@pytest.mark.slow
def test_the_partial_files_of_a_killed_worker_are_removed(data: Path, tmp_path: Path, done: Study) -> None:
    study = begun(data, tmp_path / "study", seeds=1, folds=2)
    place = cell_folder(study.folder, "plain", 0, 0)
    place.mkdir(parents=True)
    (place / "manifest.csv").write_text("path")  # before config.yaml
    trained(study)
    same = {(row.arm, row.seed, row.fold): row.probabilities for row in done.store.results(done.name)}
    for row in study.store.results(study.name):
        assert row.probabilities == same[row.arm, row.seed, row.fold]
