"""Ticks of an axis."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from excite.reporting.svg import round_steps


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_round_and_inside(low: float, width: float) -> None:
    ticks = round_steps(low, low + width)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)
