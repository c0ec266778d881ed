"""Show progress: a bar on a terminal, lines elsewhere, nothing if quiet."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from excite.system.text import printable

REFRESH = 0.2  # seconds between two updates: on a GPU, each one waits for the device
PLAIN_REFRESH = 30.0  # seconds between two lines within an epoch, if the output is not a terminal


@dataclass(frozen=True)
class Status:
    """The state of an epoch, with the rate in images per second and the remaining time in seconds."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_second: float
    seconds_left: float


class Display:
    """The base class, which shows nothing."""

    def note(self, text: str) -> None:
        """Print a line."""

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

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._last = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def note(self, text: str) -> None:
        self.console.print(printable(text), markup=False, emoji=False, soft_wrap=True)

    def stage(self, name: str) -> Callable[[int, int], None]:
        start = time.monotonic()

        def show(done: int, total: int) -> None:
            if self.console.is_terminal and (self.due() or done == total):
                self._last = time.monotonic()
                self._draw(name, done / max(total, 1), f"{done:,} of {total:,}")
            if done == total:
                self.close()
                self.note(f"{name}: {total:,} in {time.monotonic() - start:.1f} s")

        return show

    def due(self) -> bool:
        return time.monotonic() - self._last >= (REFRESH if self.console.is_terminal else PLAIN_REFRESH)

    def status(self, status: Status) -> None:
        self._last = time.monotonic()
        numbers = (
            f"loss {status.loss:.3f}  accuracy {status.accuracy:.1%}  "
            f"{status.images_per_second:.0f} images/s  {clock(status.seconds_left)} left"
        )
        name = f"epoch {status.epoch}/{status.epochs}"
        if self.console.is_terminal:
            self._draw(name, status.step / status.steps, numbers)
        else:
            self.note(f"{name} step {status.step}/{status.steps}  {numbers}")

    def epoch(self, row: Mapping[str, float], best: bool) -> None:
        self._last = time.monotonic()
        self.note(
            f"epoch {row['epoch']:>3.0f}  "
            f"train loss {row['train_loss']:.3f} accuracy {row['train_accuracy']:.1%}  "
            f"validation loss {row['val_loss']:.3f} accuracy {row['val_accuracy']:.1%}  "
            f"{row['images_per_second']:.0f} images/s  {clock(row['seconds'])}{'  best' if best else ''}"
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _draw(self, name: str, fraction: float, numbers: str) -> None:
        if self._bar is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[numbers]}", markup=False),
            )
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(name, total=1.0, numbers="")
        assert self._task is not None
        self._bar.update(self._task, description=name, completed=fraction, numbers=numbers)


def clock(seconds: float) -> str:
    """Seconds as 1:23 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
