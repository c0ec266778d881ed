"""The live table: in place on a terminal, a line for each finished cell elsewhere."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.study.running.live_table import ConsoleLiveTable, LiveTable


class Store:
    """A store whose cells change as a test says."""

    def __init__(self, states: str) -> None:
        self.states = states

    def cells(self, study: str) -> list[SimpleNamespace]:
        names = {"d": "done", "r": "running", "w": "waiting", "f": "failed"}
        times = {"started": 100.0, "ended": 160.0, "lease_until": 300.0, "left": 40.0, "error": ""}
        return [
            SimpleNamespace(arm="plain", seed=seed, fold=0, state=names[state], worker="w@host", **times)
            for seed, state in enumerate(self.states)
        ]


def study(states: str) -> Any:
    return SimpleNamespace(name="n", store=Store(states))


def test_without_a_terminal_there_is_a_line_whenever_a_cell_ends() -> None:
    stream = io.StringIO()
    table = ConsoleLiveTable(Console(file=stream, width=80))
    one = study("rww")
    for states in ("rww", "rww", "drw", "drw", "dfr", "ddd"):
        one.store.states = states
        table.show(one)
    table.close()
    lines = stream.getvalue().splitlines()
    done = [re.match(r"(\d) of 3 cells done, (\d) running(, 1 failed)?", line) for line in lines]
    assert [match[0] if match else "" for match in done] == [
        "0 of 3 cells done, 1 running",
        "1 of 3 cells done, 1 running",
        "1 of 3 cells done, 1 running, 1 failed",
        "3 of 3 cells done, 0 running",
    ]


def test_on_a_terminal_the_table_is_redrawn_and_the_last_state_stays() -> None:
    stream = io.StringIO()
    table = ConsoleLiveTable(Console(file=stream, force_terminal=True, width=80))
    one = study("rw")
    for states in ("rw", "dr", "dd"):
        one.store.states = states
        table.show(one)
    table.close()
    text = stream.getvalue()
    assert text.count("\x1b[1A") >= 4  # the cursor moves up before each redrawing
    visible = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "▶" in visible
    assert visible.rstrip().endswith("2 of 2 cells done, 0 running")


def test_closing_without_a_state_and_the_quiet_table_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    ConsoleLiveTable().close()
    quiet = LiveTable()
    quiet.show(study("d"))
    quiet.close()
    assert capfd.readouterr() == ("", "")
