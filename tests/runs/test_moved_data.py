"""A run whose data, or whose folder, has moved since the training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import excite
from excite.cli.app import run as excite_cli
from excite.errors import ExciteError
from excite.runs.moved_data import open_run
from excite.runs.run import Run
from tests.conftest import SMALL, make_pictures


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with the pictures and a run, trained from inside it."""
    place = tmp_path_factory.mktemp("moved") / "project"
    make_pictures(place / "photos", classes=2, size=(20, 20))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        excite.train("photos", epochs=1, quiet=True, thumbnails=True, **SMALL)
    return place


@pytest.fixture
def moved(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the project whose old place is gone."""
    hidden = project.with_name("hidden")
    project.rename(hidden)
    place = Path(shutil.copytree(hidden, tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    yield place
    hidden.rename(project)


def state(run: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(run.rglob("*")) if file.is_file()}


def test_data_that_moved_with_its_run_is_found(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = moved / "runs" / "photos"
    assert excite_cli(["evaluate", str(run), "--json"]) == 0
    said = capsys.readouterr()
    expected = Run(run).metrics["test"]
    assert json.loads(said.out)["test"]["confusion"] == expected["confusion"]
    assert f"to {moved / 'photos'}" in said.err.replace("\n", "")


def test_data_elsewhere_is_one_line_and_found_by_its_root(
    moved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (moved / "photos").rename(tmp_path / "archive")
    run = moved / "runs" / "photos"
    assert excite_cli(["evaluate", str(run)]) == 1
    said = capsys.readouterr()
    assert len(said.err.strip().splitlines()) == 1
    assert "images are missing, such as" in said.err
    assert "--data-root FOLDER" in said.err
    assert excite_cli(["evaluate", str(run), "--data-root", str(tmp_path / "archive"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["test"]
    assert found["confusion"] == Run(run).metrics["test"]["confusion"]
    for opened in (run, Run(run)):
        found = excite.evaluate(opened, data_root=tmp_path / "archive").metrics
        assert found["confusion"] == Run(run).metrics["test"]["confusion"]
    assert excite_cli(["evaluate", str(run), "--data-root", str(tmp_path)]) == 2
    assert "does not contain the images of the run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_report_of_a_run_without_its_images_overwrites_nothing(
    moved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = moved / "runs" / "photos"
    (moved / "photos").rename(tmp_path / "archive")
    before = state(run)
    assert excite_cli(["report", str(run)]) == 1
    said = capsys.readouterr().err
    assert "images are missing" in said
    assert "--no-thumbnails writes the report without images" in said
    assert state(run) == before
    assert excite_cli(["report", str(run), "--data-root", str(tmp_path / "archive")]) == 0
    assert (run / "figures" / "samples.png").read_bytes() == before[str(run / "figures" / "samples.png")]
    assert "file not found" not in (run / "report.html").read_text()
    assert excite_cli(["report", str(run), "--no-thumbnails"]) == 0
    assert not (run / "figures" / "samples.png").exists()
    assert "data:image" not in (run / "report.html").read_text()


@pytest.mark.parametrize(
    "how", ["root", *(pytest.param(how, marks=pytest.mark.slow) for how in ("folder", "only"))]
)
def test_an_interrupted_run_is_resumed_in_a_folder_moved_elsewhere(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    run = moved / "runs" / "photos"
    expected = Run(run).metrics["test"]
    for name in ("metrics.json", "predictions.csv", "classifier.json"):
        (run / name).unlink()
    arguments = ["train", "--resume", str(run)]
    if how == "only":  # the one unfinished run of the folder
        monkeypatch.chdir(moved)
        arguments = ["train", "--resume"]
    if how == "root":
        (moved / "photos").rename(tmp_path / "archive")
        assert excite_cli(arguments) == 1
        arguments += ["--data-root", str(tmp_path / "archive")]
    assert excite_cli(arguments) == 0
    assert Run(run).metrics["test"]["confusion"] == expected["confusion"]
    data = tmp_path / "archive" if how == "root" else moved / "photos"
    assert Path(Run(run).config.data) == data
    assert all(Path(path).is_relative_to(data) for path in Run(run).manifest.table["path"])
    assert set(Run(run).predictions["path"]) <= set(Run(run).manifest.table["path"])


def test_a_root_is_for_runs_that_are_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert excite_cli(["train", str(tmp_path), "--data-root", str(tmp_path)]) == 2
    assert "is for a run that is resumed" in capsys.readouterr().err


def test_a_run_that_did_not_move_is_opened_as_it_is(project: Path) -> None:
    opened = open_run(project / "runs" / "photos")
    assert opened.data_root is None
    with pytest.raises(ExciteError, match="does not contain the images"):
        open_run(project / "runs" / "photos", project / "runs")
