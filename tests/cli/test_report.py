"""excite report"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.reporting.run_folders import write_run

WRITTEN = ("report.html", "model_card.md", "figures/learning_curves.png")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run without its pages."""
    return write_run(tmp_path_factory.mktemp("report") / "run").path


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "run"))


@pytest.mark.slow
def test_pages_and_figures_are_written_again(run: Path, excite_command: Command) -> None:
    done = excite_command("report", run)
    assert done.returncode == 0, done.stderr
    labels = ("written   ", " " * 10, " " * 10)
    names = ("report.html", "model_card.md", "figures")
    lines = [f"{label}{run / name}" for label, name in zip(labels, names, strict=True)]
    assert done.stdout.splitlines() == lines  # one path a line, so that none is broken at 80 columns
    first = {name: (run / name).read_bytes() for name in WRITTEN}
    for name in WRITTEN:
        (run / name).unlink()
    assert excite_command("report", run).returncode == 0
    assert {name: (run / name).read_bytes() for name in WRITTEN} == first


def test_a_run_that_has_not_finished_and_a_folder_without_one_are_one_line(
    run: Path, excite_command: Command, tmp_path: Path
) -> None:
    (run / "metrics.json").unlink()
    for folder, message in ((run, "not finished"), (tmp_path / "nowhere", "there is no such run")):
        done = excite_command("report", folder)
        assert (done.returncode, done.stdout) == (1, "")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (run / "report.html").exists()


def test_a_page_that_cannot_be_written_is_one_line(run: Path, excite_command: Command) -> None:
    (run / "report.html").mkdir()
    done = excite_command("report", run)
    assert (done.returncode, done.stdout) == (1, "")
    assert "report.html: cannot be written: is a directory" in done.stderr
    assert done.stderr.count("\n") == 1


def test_wrong_use_is_one_line(excite_command: Command) -> None:
    done = excite_command("report")
    assert done.returncode == 2
    assert "missing argument 'run'" in done.stderr.lower()
    done = excite_command("report", "x", "--thumbnail")
    assert done.returncode == 2
    assert "--thumbnails" in done.stderr  # the nearest
