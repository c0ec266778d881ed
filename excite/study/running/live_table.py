"""The live table of cells, while a study is trained."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from excite.study.running.status_tables import progress_text, running_text, signs_table
from excite.study.store.schema import DONE, FAILED
from excite.study.study import Study
from excite.system.progress import progress_console

PLAIN_EVERY = 30.0  # seconds between two lines without a terminal


class LiveTable:
    """A live table that shows nothing; the base class."""

    def show(self, study: Study) -> None:
        """Show the current cells."""

    def close(self) -> None:
        """Restore the terminal."""


class ConsoleLiveTable(LiveTable):
    """A table that stays in place on a terminal; elsewhere, a line for each finished cell."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or progress_console()
        self._live: Live | None = None
        self._printed: tuple[int, int] = (-1, -1)
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
            # The cursor stays on an empty line, so that a ^C of the terminal does not overwrite a line.
            self._live.update(Group(signs_table(cells), *texts, Text()), refresh=True)
        elif key != self._printed or time.monotonic() - self._last > PLAIN_EVERY:
            self.console.print(progress_text(cells), markup=False, soft_wrap=True)
            self._last = time.monotonic()
        self._printed = key

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
