"""The live table of cells: arms down, seeds and folds across."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from excite.study.schema import DONE, FAILED, RUNNING, WAITING
from excite.study.study import Study
from excite.training.progress import clock

SIGNS = {WAITING: ("·", "dim"), RUNNING: ("▶", "yellow"), DONE: ("✓", "green"), FAILED: ("✗", "red")}
PLAIN_EVERY = 30.0  # seconds between two lines, where lines are all there is


class Board:
    """Shows nothing; the base of the one that does."""

    def show(self, study: Study) -> None:
        """Look at the cells and show them."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class ConsoleBoard(Board):
    """On a terminal a table that stays in place, elsewhere a line when something was finished."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._said: tuple[int, int] = (-1, -1)
        self._last = 0.0

    def show(self, study: Study) -> None:
        cells = study.store.cells(study.name)
        states = [cell.state for cell in cells]
        key = (states.count(DONE), states.count(FAILED))
        if self.console.is_terminal:
            if self._live is None:
                self._live = Live(console=self.console, auto_refresh=False)
                self._live.start()
            self._live.update(table_of(cells), refresh=True)
        elif key != self._said or time.monotonic() - self._last > PLAIN_EVERY:
            self.console.print(progress_text(cells), markup=False, soft_wrap=True)
            self._last = time.monotonic()
        self._said = key

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def table_of(cells: list[Any]) -> Table:
    """A row an arm; a sign for each cell, seeds apart."""
    table = Table(box=None, pad_edge=False, caption=progress_text(cells), caption_justify="left")
    table.add_column("arm")
    seeds = sorted({cell.seed for cell in cells})
    for seed in seeds:
        table.add_column(f"seed {seed}")
    for arm in dict.fromkeys(cell.arm for cell in cells):
        row = []
        for seed in seeds:
            own = sorted((c for c in cells if c.arm == arm and c.seed == seed), key=lambda cell: cell.fold)
            row.append(Text.assemble(*(SIGNS[cell.state] for cell in own)))
        table.add_row(arm, *row)
    return table


def progress_text(cells: list[Any]) -> str:
    """So many of so many, and how long the rest will take."""
    states = [cell.state for cell in cells]
    text = f"{states.count(DONE)} of {len(cells)} cells done, {states.count(RUNNING)} running"
    if failed := states.count(FAILED):
        text += f", {failed} failed"
    spent = [
        cell.ended - cell.started for cell in cells if cell.state == DONE and cell.ended and cell.started
    ]
    left = states.count(WAITING) + states.count(RUNNING)
    if spent and left:
        seconds = float(np.mean(spent)) * left / max(states.count(RUNNING), 1)
        text += f", about {clock(seconds)} left"
    return text
