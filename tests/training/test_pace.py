"""The forecast of a training, and the processors that it has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from excite.training.pace import CONTENDED_BELOW, MIN_SECONDS, MIN_STEPS, WARM_UP, WINDOW, Pace


def paced(*steps: float, processor: float = 1.0) -> Pace:
    """Steps after the warm-up, whose processor time is this fraction of their time."""
    pace = Pace(batch=32)
    for seconds in (*[28.0] * WARM_UP, *steps):
        pace.add(seconds, seconds * processor)
    return pace


def test_the_first_steps_compile_and_forecast_nothing() -> None:
    pace = paced(*[0.5] * (MIN_STEPS - 1))
    assert pace.seconds_per_step is None
    assert pace.images_per_second is None
    assert pace.seconds_left(100, 2) is None
    pace.add(0.5, 0.5)
    assert pace.seconds_left(100, 2) == 50.0  # and not 28 seconds a step
    assert pace.images_per_second == 64.0


def test_validation_counts_for_every_epoch_that_is_left() -> None:
    pace = paced(*[0.5] * MIN_STEPS)
    pace.end_epoch(4.0)
    assert pace.seconds_left(100, 3) == 50.0 + 3 * 4.0
    assert pace.seconds_left(0, 0) == 0.0


@given(st.lists(st.floats(0.01, 10), min_size=MIN_STEPS, max_size=3 * WINDOW))
def test_a_step_takes_the_median_of_the_newest_steps(steps: list[float]) -> None:
    assert paced(*steps).seconds_per_step == pytest.approx(np.median(steps[-WINDOW:]))


@pytest.mark.parametrize(("processor", "shown"), [(1.0, False), (CONTENDED_BELOW + 0.01, False), (0.4, True)])
def test_other_work_on_the_processors_is_seen_where_processor_time_and_clock_part(
    processor: float, shown: bool
) -> None:
    pace = paced(*[1.0] * (int(MIN_SECONDS) - 1), processor=processor)
    assert pace.processor_fraction() is None  # too short to tell
    pace.add(1.0, processor)
    fraction = pace.processor_fraction()
    assert (fraction == pytest.approx(processor)) if shown else fraction is None
