"""The forest plot: every difference with its interval on one scale."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.study.results.charts import forest_chart
from tests.study.results.simulated_cells import cells_of, compared, outcomes


def test_the_forest_plot_contains_each_difference_with_its_interval() -> None:
    """The dots and whiskers of all rows lie on one scale; zero is where the line is drawn."""
    found = [
        compared(cells_of("one", outcomes(1, (6, 200))), cells_of("two", outcomes(2, (6, 200), share)))
        for share in (0.5, 0.9)
    ]
    chart = forest_chart(SimpleNamespace(comparisons=found, metric="accuracy"))  # type: ignore[arg-type]
    assert chart is not None
    values = [(one.estimate.value, one.estimate.low, one.estimate.high) for one in found]
    assert [row[2:5] for row in chart.rows] == values
    drawing = str(chart.svg)
    dots = [float(x) for x in re.findall(r'<circle [^>]*cx="([^"]+)"', drawing)]
    ends = [tuple(map(float, ends)) for ends in re.findall(r'whisker s0" d="M(\S+) \S+?H([\d.]+)M', drawing)]
    [zero] = re.findall(r'line zero" d="M(\S+) ', drawing)
    known = [0.0, *(number for row in values for number in row if number is not None)]
    drawn = [float(zero), *(x for dot, (low, high) in zip(dots, ends, strict=True) for x in (dot, low, high))]
    slope, start = np.polyfit(known, drawn, 1)
    np.testing.assert_allclose(drawn, slope * np.array(known) + start, atol=0.1)
    assert slope > 0
    assert forest_chart(SimpleNamespace(comparisons=[], metric="accuracy")) is None  # type: ignore[arg-type]
