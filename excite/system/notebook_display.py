"""Progress in a notebook: one line that changes in place, and lines of text below the cell."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console

from excite.system.notebook import in_notebook
from excite.system.progress import BAR, ConsoleDisplay, Display
from excite.system.text import printable


class NotebookDisplay(ConsoleDisplay):
    """Lines on standard output, which a notebook shows below the cell; a bar replaces itself.

    IPython's display is used rather than rich's, whose bars need ipywidgets.
    """

    def __init__(self) -> None:
        # A notebook shows standard error in red.
        super().__init__(Console(file=sys.stdout, force_jupyter=False, force_terminal=False, highlight=False))
        self._handle: Any = None

    @property
    def is_live(self) -> bool:
        return True

    def close(self) -> None:
        if self._handle is not None:
            self._handle.update({"text/plain": ""}, raw=True)
            self._handle = None

    def _draw(self, name: str, fraction: float | None, numbers: str) -> None:
        from IPython.display import display

        full = 0 if fraction is None else round(BAR * min(max(fraction, 0.0), 1.0))
        bar = "" if fraction is None else f"[{'#' * full}{' ' * (BAR - full)}] "
        data = {"text/plain": printable(f"{name} {bar}{numbers}".rstrip())}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(data, raw=True)


def progress_display(*, quiet: bool = False) -> Display:
    """The display of a Python function: for a notebook, for a terminal or a log, or (quiet) none."""
    if quiet:
        return Display()
    return NotebookDisplay() if in_notebook() else ConsoleDisplay()
