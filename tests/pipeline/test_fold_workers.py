"""Folds divided among processes: each is trained once, and that of a dead process is taken over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from excite.pipeline.fold_workers import helpers
from tests.waiting import wait_until

WORKER = """
import os, signal, sys
from pathlib import Path

from excite.pipeline.fold_workers import train_next_folds
from excite.runs.run import Run
from tests.waiting import wait_until

place = Path(sys.argv[1])
cells = [Run(place / f"cell-{number}") for number in range(12)]
(place / f"ready-{os.getpid()}").touch()
assert wait_until(lambda: len(list(place.glob("ready-*"))) == 2)

def owners():
    return {pid for begun in place.glob("cell-*/begun") for pid in begun.read_text().split()}

def train(index):
    folder = cells[index].path
    folder.mkdir(exist_ok=True)
    with (folder / "begun").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    assert wait_until(lambda: len(owners()) == 2)  # both processes have a cell
    if "STOP" in os.environ:
        signal.pause()
    (folder / "metrics.json").write_text(str(os.getpid()))

train_next_folds(cells, train)
assert all(cell.finished for cell in cells)
"""


def owners(place: Path) -> list[str]:
    return [(place / f"cell-{number}" / "metrics.json").read_text() for number in range(12)]


def test_two_processes_train_each_cell_once(tmp_path: Path) -> None:
    with helpers(2, WORKER, tmp_path):
        pass
    assert len(set(owners(tmp_path))) == 2
    for number in range(12):
        assert (tmp_path / f"cell-{number}" / "begun").read_text().count("\n") == 1
    assert (tmp_path / "helper-1.log").read_text() == ""


def test_the_cell_of_a_killed_process_is_taken_over_by_the_one_that_waits(tmp_path: Path) -> None:
    call = [sys.executable, "-c", WORKER, str(tmp_path)]
    patient = subprocess.Popen(call, env={})
    doomed = subprocess.Popen(call, env={"STOP": "1"})
    assert wait_until(lambda: len(list(tmp_path.glob("cell-*/metrics.json"))) == 11)
    doomed.kill()
    doomed.wait()
    assert patient.wait(timeout=300) == 0
    assert set(owners(tmp_path)) == {str(patient.pid)}
    twice = [file for file in tmp_path.glob("cell-*/begun") if file.read_text().count("\n") == 2]
    assert len(twice) == 1


def test_helpers_end_with_their_training(tmp_path: Path) -> None:
    code = "import os, pathlib, signal, sys; "
    code += "pathlib.Path(sys.argv[1], f'pid-{os.getpid()}').touch(); signal.pause()"

    def fail() -> None:
        with helpers(2, code, tmp_path):
            assert wait_until(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    for file in tmp_path.glob("pid-*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.name.removeprefix("pid-")), 0)
