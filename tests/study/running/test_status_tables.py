"""Tables of the cells of a study and their workers, on any terminal."""

from __future__ import annotations

import io
import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.study.running import status_tables
from excite.study.running.live_table import ConsoleLiveTable
from excite.study.study import Study
from tests.conftest import Command, make_pictures
from tests.study.small_study import begun, trained

HERE = f"{socket.gethostname()}, process {os.getpid()}"


def cell(arm: str, seed: int, fold: int, state: str, worker: str = "", **more: Any) -> SimpleNamespace:
    times = {"started": None, "ended": None, "lease_until": 0.0, "left": 0.0, "error": ""}
    return SimpleNamespace(
        arm=arm, seed=seed, fold=fold, state=state, worker=worker and f"w@{worker}", **{**times, **more}
    )


CELLS = [
    cell("plain", 0, 0, "done", "a, node 1, process 7", started=100.0, ended=160.0),
    cell("se", 0, 0, "done", "a, node 2, process 8", started=100.0, ended=200.0),
    cell("plain", 1, 0, "running", "a, node 1, process 9", started=200.0, lease_until=300.0, left=40.0),
    cell("se", 1, 0, "failed", "b, process 1", started=100.0, error="no [such] thing"),
    cell("plain", 2, 0, "waiting"),
    cell("se", 2, 0, "waiting", "b, process 1"),
]


def rendered(table: Table, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize(("seeds", "folds"), [(1, 1), (5, 1), (40, 1), (30, 5)])
def test_every_cell_has_its_symbol_also_on_a_narrow_terminal(width: int, seeds: int, folds: int) -> None:
    states = ["done", "running", "waiting", "failed", "done"]
    cells = [
        cell("an-arm-with-a-name", seed, fold, states[(seed + fold) % 5])
        for fold in range(folds)
        for seed in range(seeds)
    ]
    lines = rendered(status_tables.signs_table(cells), width).splitlines()
    signs = re.sub(r"[^·▶✓✗]", "", "".join(lines[1:]))
    expected = [
        status_tables.SIGNS[states[(seed + fold) % 5]][0] for seed in range(seeds) for fold in range(folds)
    ]
    assert signs == "".join(expected)
    assert max(map(len, lines)) <= width


def test_workers_are_listed_with_their_cells() -> None:
    assert status_tables.running_text(CELLS) == "▶ plain seed 1  1:00  a, node 1, process 9"
    assert status_tables.progress_text(CELLS) == "2 of 6 cells done, 1 running, 1 failed, about 4:00 left"
    assert status_tables.worker_rows(CELLS) == [
        {"where": "a, node 1", "done": 1, "seconds": 60.0, "failed": 0, "running": ["plain seed 1"]},
        {"where": "a, node 2", "done": 1, "seconds": 100.0, "failed": 0, "running": []},
        {"where": "b", "done": 0, "seconds": None, "failed": 1, "running": []},
    ]
    text = rendered(status_tables.cells_table(CELLS), 120)
    assert re.search(r"se +1 +0 +failed +b, process 1 +no \[such\] thing", text)
    assert re.search(r"plain +1 +0 +running +1:00 +a, node 1, process 9", text)


def test_of_many_workers_only_some_are_listed() -> None:
    cells = [cell("a", seed, 0, "running", f"m{seed}, process 1", started=1.0) for seed in range(50)]
    assert status_tables.running_text(cells).splitlines()[-1] == f"and {50 - status_tables.MOST_LINES} more"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    place = tmp_path_factory.mktemp("tables")
    return trained(begun(make_pictures(place / "pictures", classes=2), place / "study", seeds=1))


def test_a_terminal_shows_one_table_that_stays_in_place(study: Study) -> None:
    stream = io.StringIO()
    live_table = ConsoleLiveTable(Console(file=stream, force_terminal=True, width=80))
    for _ in range(3):
        live_table.show(study)
    live_table.close()
    text = stream.getvalue()
    assert "✓" in text
    assert text.count("\x1b[1A") >= 2 * len(study.arms)  # up again before each new drawing
    assert re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).rstrip().endswith("2 of 2 cells done, 0 running")


@pytest.mark.slow
def test_status_shows_where_each_cell_was_trained(study: Study, excite_command: Command) -> None:
    told = excite_command("study", "status", study.folder, "--cells").stdout
    assert len(re.findall(rf"done +\d+:\d\d +{re.escape(HERE)}", told)) == 2
    assert re.search(rf"^{re.escape(socket.gethostname())} +2 ", told, re.MULTILINE)
    from json import loads

    document = loads(excite_command("study", "status", study.folder, "--cells", "--json").stdout)
    assert [row["done"] for row in document["workers"]] == [2]
    assert {row["worker"] for row in document["each_cell"]} == {HERE}


def test_cells_csv_names_the_worker(study: Study, tmp_path: Path) -> None:
    import csv

    from excite.study.results.report import write_study

    write_study(study, tmp_path)
    with (tmp_path / "cells.csv").open() as file:
        assert {row["worker"] for row in csv.DictReader(file)} == {HERE}
