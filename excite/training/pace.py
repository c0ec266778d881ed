"""The speed of a training: a forecast of its end, and whether other programs take its processors."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

WARM_UP = 3  # first steps of a process: kernels are compiled, caches and memory pools are filled
MIN_STEPS = 5  # measured steps before a forecast
WINDOW = 64  # newest steps that count
MIN_SECONDS = 5.0  # measured before contention is reported
CONTENDED_BELOW = 0.75  # processor time / elapsed time; an undisturbed training on a CPU has 0.95 to 1


@dataclass
class Pace:
    """Durations of the newest steps.

    Args:
        batch: images per step.
    """

    batch: int
    seen: int = 0
    steps: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    between: float = 0.0

    def add(self, elapsed: float, processor: float) -> None:
        """Count a step.

        Args:
            elapsed: its seconds.
            processor: seconds of processor time of the thread that ran it.
        """
        self.seen += 1
        if self.seen > WARM_UP:
            self.steps.append((elapsed, processor))

    def end_epoch(self, elapsed: float) -> None:
        """Remember the seconds that an epoch takes beside its steps, for validation and checkpoint."""
        self.between = elapsed

    @property
    def seconds_per_step(self) -> float | None:
        """The median of the newest steps; None while there are too few."""
        return median(elapsed for elapsed, _ in self.steps) if len(self.steps) >= MIN_STEPS else None

    @property
    def images_per_second(self) -> float | None:
        """The current rate; None while there are too few steps."""
        step = self.seconds_per_step
        return self.batch / step if step else None

    def seconds_left(self, steps: int, epochs: int) -> float | None:
        """The remaining time; None while there are too few steps.

        Args:
            steps: that remain.
            epochs: that remain, the current one included.
        """
        step = self.seconds_per_step
        return None if step is None else steps * step + epochs * self.between

    def processor_fraction(self) -> float | None:
        """Processor time per elapsed time if it is low: other programs use the processors; else None."""
        elapsed = sum(each for each, _ in self.steps)
        if elapsed < MIN_SECONDS:
            return None
        fraction = sum(processor for _, processor in self.steps) / elapsed
        return fraction if fraction < CONTENDED_BELOW else None
