"""A run folder belongs to one run, and --resume selects the right one."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import excite
from excite.config.train_config import TrainConfig
from excite.errors import BAD_USAGE, ExciteError
from excite.runs.environment import environment
from excite.runs.run import Run, create_run_folder, newest_run, refuse_run_folder
from tests.conftest import Command, make_pictures


def begun(folder: Path, data: str, began: int = 0) -> Path:
    """A started run that --resume can find."""
    run = Run(create_run_folder(folder))
    run.write_json("environment.json", environment(TrainConfig(), 1))
    config = run.path / "config.yaml"
    config.write_text(f"data: {data}\nfolds: null\n")
    os.utime(config, ns=(began, began))
    return run.path


def test_every_new_run_has_its_own_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: create_run_folder(tmp_path / "runs/x"), range(24)))
    assert len(set(claimed)) == 24
    assert {path.name for path in claimed} == {"x", *(f"x-{number}" for number in range(2, 25))}


def test_an_empty_folder_is_used_once(tmp_path: Path) -> None:
    (tmp_path / "mounted").mkdir()
    assert [create_run_folder(tmp_path / "mounted").name for _ in range(2)] == ["mounted", "mounted-2"]


@pytest.mark.parametrize("left", ["environment.json", "manifest.csv", "audit.json"])
def test_the_folder_of_a_killed_run_is_not_used_again(tmp_path: Path, left: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / left).touch()
    assert create_run_folder(tmp_path / "x").name == "x-2"
    assert newest_run(tmp_path / "x").name == "x"


def test_a_numbered_folder_with_other_files_is_skipped(tmp_path: Path) -> None:
    create_run_folder(tmp_path / "x")
    (tmp_path / "x-2").mkdir()
    (tmp_path / "x-2" / "notes.txt").touch()
    (tmp_path / "x-3").touch()
    assert create_run_folder(tmp_path / "x").name == "x-4"
    with pytest.raises(ExciteError, match="contains files that do not belong to a run"):
        create_run_folder(tmp_path / "x-2")


def test_only_run_folders_are_protected(tmp_path: Path) -> None:
    run = begun(tmp_path / "x", "x")
    claimed = create_run_folder(tmp_path / "x")
    (tmp_path / "config.yaml").touch()  # of a project that the runs lie in
    for out in (run, claimed, run / "checkpoints", run / "repeat-0" / "fold-1" / "figures"):
        with pytest.raises(ExciteError, match="whose files are never overwritten"):
            refuse_run_folder(out)
    for out in (tmp_path, tmp_path / "figures", run / "evaluation", run / "other/figures"):
        refuse_run_folder(out)


def test_a_run_that_never_started_is_an_error(tmp_path: Path) -> None:
    folder = create_run_folder(tmp_path / "x")
    with pytest.raises(ExciteError, match="stopped before the training began") as caught:
        Run.open(folder)
    assert caught.value.hint == "train again without --resume"


@pytest.mark.slow
def test_the_run_that_started_last_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "x", classes=1, each=1)
    for began in (30, 20, 10):
        begun(Path("runs/x"), "x", began)
    (tmp_path / "runs/x-4").mkdir()  # killed before it began
    (tmp_path / "runs/x-old").mkdir()
    assert newest_run(Path("runs/x"), "x").name == "x"
    begun(Path("runs/x-7"), "x-7", 99)  # a run of other data, called alike
    assert newest_run(Path("runs/x"), "./x/").name == "x"
    begun(Path("runs/x-10"), str(tmp_path / "x"), 50)
    assert newest_run(Path("runs/x"), "x").name == "x-10"


def test_data_is_the_same_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("photos", "others", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("photos")
    monkeypatch.chdir(tmp_path)
    run = Run(begun(tmp_path / "run", "photos/"))
    for data in ("photos", "photos/", "./photos", str(tmp_path / "photos"), "link", "link/../photos"):
        assert run.was_trained_on(data)
    assert not run.was_trained_on("others")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run.was_trained_on("../photos")
    assert run.data_path == tmp_path / "photos"


@pytest.mark.slow
def test_resume_accepts_any_spelling_of_the_data(excite_command: Command, tmp_path: Path) -> None:
    work = tmp_path / "work"
    make_pictures(work / "photos", classes=2, each=12)
    make_pictures(work / "others/photos", classes=2, each=12)
    options = ["--epochs", 1, "--batch-size", 8, "--device", "cpu", "--no-near-duplicates"]
    assert excite_command("train", "photos", *options).returncode == 0
    for data in ("photos/", "./photos", work / "photos"):
        done = excite_command("train", data, "--resume")
        assert done.returncode == 0, done.stderr
    done = excite_command("train", "others/photos", "--resume")
    assert done.returncode == BAD_USAGE
    assert "the data: was 'photos' when the run runs/photos started" in done.stderr
    assert "--data" not in done.stderr
    done = excite_command("train", "--resume")
    assert "every run in runs/ has finished" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    (work / "runs/photos/metrics.json").unlink()
    assert excite_command("train", "--resume").returncode == 0  # the only one that is left
    assert (work / "runs/photos/metrics.json").is_file()
    assert [path.name for path in (work / "runs").iterdir()] == ["photos"]


def test_no_verb_writes_among_the_images(excite_command: Command, tmp_path: Path) -> None:
    photos = make_pictures(tmp_path / "work/photos", classes=2, each=6)
    table = tmp_path / "work/table.csv"
    rows = [f"{path.relative_to(table.parent)},{path.parent.name}" for path in sorted(photos.rglob("*.png"))]
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    before = sorted(photos.rglob("*"))
    arms = ["--arm", "a:densenet_bc_40_12", "--arm", "b:densenet_bc_40_12+se", "--seeds", 1, "--dry-run"]
    for command in (
        ["train", "photos", "--out", "photos/run"],
        ["train", "table.csv", "--out", "photos/a/run"],
        ["train", "table.csv", "--folds", 2, "--out", "photos/run"],
        ["audit", "table.csv", "--no-near-duplicates", "--out", "photos/audit"],
        ["split", "table.csv", "--no-near-duplicates", "--out", "photos/table.csv"],
        ["study", "run", "photos", *arms, "--out", "photos/study"],
    ):
        done = excite_command(*command)
        assert done.returncode == BAD_USAGE, done.stderr
        assert "is inside the data, where nothing may be written" in done.stderr
    with pytest.raises(ExciteError, match="is inside the data"):
        excite.train(photos, out=str(photos / "run"), quiet=True)
    assert sorted(photos.rglob("*")) == before
    assert not (tmp_path / "work/runs").exists()


@pytest.mark.slow
def test_predict_reads_the_files_that_train_reads(excite_command: Command, tmp_path: Path) -> None:
    work = tmp_path / "work"
    make_pictures(work / "photos", classes=2, each=12)
    options = ["--epochs", 1, "--batch-size", 8, "--device", "cpu", "--no-near-duplicates"]
    assert excite_command("train", "photos", *options, "--out", "run").returncode == 0
    picture = (work / "photos/a/p0_0.png").read_bytes()
    for name in ("ok.png", "sub/._ok.png", ".ipynb_checkpoints/ok.png", "__MACOSX/ok.png", "album.jpg/x.png"):
        (work / "inbox" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "inbox" / name).write_bytes(picture)
    (work / "other").mkdir()
    (work / "other/linked.png").write_bytes(picture)
    (work / "inbox/link").symlink_to("../other")
    (work / "inbox/loop").symlink_to(".")
    (work / "inbox/ok.png?width=300").write_bytes(picture)
    done = excite_command("predict", "run", "inbox/", "--format", "csv")
    assert done.returncode == 0
    paths = [line.split(",")[0] for line in done.stdout.splitlines()[1:]]
    assert paths == ["inbox/album.jpg/x.png", "inbox/link/linked.png", "inbox/ok.png"]
    assert "1 file was left out because it does not have the extension of an image" in done.stderr
    manifest = Run(work / "run").manifest
    assert len(manifest) == 24


def test_a_second_run_of_a_name_gets_a_number(tmp_path: Path) -> None:
    for expected in ("run", "run-2", "run-3"):
        folder = create_run_folder(tmp_path / "run")
        assert folder.name == expected
        (folder / "config.yaml").touch()
    assert newest_run(tmp_path / "run").name == "run-3"
    assert newest_run(tmp_path / "other").name == "other"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(ExciteError, match=r"thesis\.txt"):
        create_run_folder(tmp_path / "full")
