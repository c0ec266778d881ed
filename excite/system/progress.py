"""Show progress: a bar on a terminal, lines elsewhere, nothing if quiet."""

from __future__ import annotations

import contextlib
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from excite.system.text import printable

REFRESH = 0.2  # seconds between two updates: on a GPU, each one waits for the device
PLAIN_REFRESH = 30.0  # seconds between two lines within an epoch, if the output is not a terminal
NAMED_AFTER = 1.0  # seconds; a longer wait is named, also if the output is not a terminal
LABEL = 10  # columns of the label of a fact
BAR = 16  # columns
QUIET: ContextVar[bool] = ContextVar("QUIET", default=False)  # with --quiet, nothing is shown
EPOCH_HEADER = "epoch   train loss  accuracy  validation loss  accuracy  images/s     time"


def progress_console() -> Console:
    """The console on standard error; while ``QUIET`` is set, one that prints nothing."""
    return Console(stderr=True, highlight=False, quiet=QUIET.get())


@dataclass(frozen=True)
class Status:
    """The state of an epoch.

    Args:
        images_per_second: the current rate; None before it can be told.
        seconds_left: the remaining time; None before it can be told.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_second: float | None
    seconds_left: float | None


class Display:
    """The base class, which shows nothing."""

    def note(self, text: str) -> None:
        """Print a line."""

    def detail(self, text: str) -> None:
        """Print a line that only ``--verbose`` shows."""

    def fact(self, label: str, text: str) -> None:
        """Print a line that begins with a label such as ``data``."""
        self.note(f"{label:<{LABEL}}{text}")

    def unbroken(self, label: str, text: str) -> None:
        """Print a fact that users copy, such as a path or a command, on one line whatever its length."""
        self.note(f"{label:<{LABEL}}{text}")

    @contextlib.contextmanager
    def waiting(self, name: str) -> Iterator[None]:
        """Name what the block does while it runs."""
        yield

    def stage(self, name: str) -> Callable[[int, int], None]:
        """Start a stage such as decoding; returns a function to call with (done, total)."""
        return lambda done, total: None

    def due(self) -> bool:
        """Whether it is time to show a new status."""
        return False

    def status(self, status: Status) -> None:
        """Show the state of an epoch."""

    def epoch(self, row: Mapping[str, float], best: bool) -> None:
        """Show the metrics of a finished epoch."""

    def close(self) -> None:
        """Remove the progress bar."""


class ConsoleDisplay(Display):
    """Progress on standard error, so that standard output contains results only."""

    def __init__(self, console: Console | None = None, *, verbose: bool = False) -> None:
        self.console = console or progress_console()
        self.verbose = verbose
        self._last = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._has_header = False

    @property
    def is_live(self) -> bool:
        """Whether a bar can replace itself."""
        return self.console.is_terminal

    def note(self, text: str) -> None:
        """On a terminal, a long text is broken between words."""
        for line in self._broken(text, self.console.width):
            self._print(line)

    def detail(self, text: str) -> None:
        if self.verbose:
            self.fact("", text)

    def fact(self, label: str, text: str) -> None:
        """On a terminal, a long text continues below its beginning, broken between words."""
        for number, line in enumerate(self._broken(text, self.console.width - LABEL)):
            self._print(f"{'' if number else label:<{LABEL}}{line}")

    def unbroken(self, label: str, text: str) -> None:
        self._print(f"{label:<{LABEL}}{text}")

    @contextlib.contextmanager
    def waiting(self, name: str) -> Iterator[None]:
        if self.is_live:
            self._draw(name, None, "")
            try:
                yield
            finally:
                self.close()
            return
        timer = threading.Timer(NAMED_AFTER, self.note, (f"{name} ...",))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def stage(self, name: str) -> Callable[[int, int], None]:
        start = shown = time.monotonic()
        before: int | None = None  # done by other processes or an earlier command

        def show(done: int, total: int) -> None:
            nonlocal shown, before
            now = time.monotonic()
            before = done - 1 if before is None else before
            left = clock((now - start) * (total - done) / max(done - before, 1))
            if self.is_live:
                if self.due() or done == total:
                    self._last = now
                    self._draw(name, done / max(total, 1), f"{done:,} of {total:,}  {left} left")
            elif done < total and now - shown >= (NAMED_AFTER if shown == start else PLAIN_REFRESH):
                shown = now
                self.note(f"{name}: {done:,} of {total:,}, {left} left ...")
            if done == total:
                self.close()
                self.detail(f"{name}: {total:,} in {now - start:.1f} s")

        if self.is_live:
            self._draw(name, None, "")
        return show

    def due(self) -> bool:
        return time.monotonic() - self._last >= (REFRESH if self.is_live else PLAIN_REFRESH)

    def status(self, status: Status) -> None:
        self._last = time.monotonic()
        numbers = f"loss {status.loss:.3f}  accuracy {status.accuracy:.1%}"
        if status.seconds_left is not None:
            numbers += f"  {clock(status.seconds_left)} left"
        name = f"epoch {status.epoch}/{status.epochs}"
        if self.is_live:
            self._draw(name, status.step / status.steps, numbers)
        else:
            self.note(f"{name} step {status.step}/{status.steps}  {numbers}")

    def epoch(self, row: Mapping[str, float], best: bool) -> None:
        self._last = time.monotonic()
        if not self._has_header:
            self._has_header = True
            self._print(EPOCH_HEADER)
        self._print(
            f"{row['epoch']:>5.0f}{row['train_loss']:>13.3f}{row['train_accuracy']:>10.1%}"
            f"{row['val_loss']:>17.3f}{row['val_accuracy']:>10.1%}"
            f"{row['images_per_second']:>10.0f}{clock(row['seconds']):>9}{' best' if best else ''}"
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _broken(self, text: str, width: int) -> list[str]:
        """The text, on a terminal in lines of this width that are broken between words."""
        if not self.console.is_terminal:
            return [text]
        width = max(width, 2 * LABEL)
        return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]

    def _print(self, line: str) -> None:
        self.console.print(printable(line), markup=False, emoji=False, soft_wrap=True)

    def _draw(self, name: str, fraction: float | None, numbers: str) -> None:
        """Show a bar; without a fraction, it pulses."""
        is_new = self._bar is None
        if self._bar is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=BAR),
                TextColumn("{task.fields[numbers]}", markup=False),
            )
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(name, total=None, numbers="")
        assert self._task is not None
        total = None if fraction is None else 1.0
        self._bar.update(self._task, description=name, total=total, completed=fraction, numbers=numbers)
        if is_new:  # others are drawn with the next refresh
            self._bar.refresh()


def clock(seconds: float) -> str:
    """Seconds as 1:23 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
