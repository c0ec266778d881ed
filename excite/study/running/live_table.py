"""The live table of cells, while a study is trained."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from excite.study.running.status_tables import progress_text, running_text, signs_table
from excite.study.store.schema import DONE, FAILED
from excite.study.study import Study

PLAIN_EVERY = 30.0  # seconds between two lines, where lines are all there is


class LiveTable:
    """Shows nothing; the base of the one that does."""

    def show(self, study: Study) -> None:
        """Look at the cells and show them."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class ConsoleLiveTable(LiveTable):
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
            below = (progress_text(cells), running_text(cells))
            texts = [Text(text, style="dim", overflow="fold") for text in below if text]
            # The cursor rests on a line of its own, where the ^C of an impatient person breaks no full one.
            self._live.update(Group(signs_table(cells), *texts, Text()), refresh=True)
        elif key != self._said or time.monotonic() - self._last > PLAIN_EVERY:
            self.console.print(progress_text(cells), markup=False, soft_wrap=True)
            self._last = time.monotonic()
        self._said = key

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
