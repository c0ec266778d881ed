"""A chart with its data, which the page shows as a table and offers as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from markupsafe import Markup

from excite.reporting.svg import swatch

MOST_ROWS = 120
"""Maximum number of rows of a chart's table on the page; the CSV file contains all."""


Row = Sequence[str | float | int | None]


@dataclass(frozen=True)
class Key:
    """A line of a legend: ``swatch`` shows the line's color and dash beside its name."""

    swatch: Markup
    text: str

    @classmethod
    def of(cls, style: str, text: str) -> Key:
        """A line of the legend in a style of the style sheet, such as ``s0``."""
        return cls(swatch(style), text)


@dataclass(frozen=True)
class Chart:
    """A chart as the page shows it.

    Args:
        name: unique on the page; the CSV file is called ``name.csv``.
        title: what it shows.
        svg: the drawing.
        columns, rows: the data: text, numbers, or None if undefined.
        legend: its lines.
        notes: sentences below the chart.
    """

    name: str
    title: str
    svg: Markup
    columns: Sequence[str]
    rows: Sequence[Row]
    legend: Sequence[Key] = ()
    notes: Sequence[str] = ()

    @property
    def address(self) -> str:
        """The data as CSV in a data URI, which works offline and without scripts."""
        return csv_address(self.columns, self.rows)

    @property
    def shown_rows(self) -> list[list[str]]:
        """The first ``MOST_ROWS`` rows as text."""
        return [[_cell(value) for value in row] for row in self.rows[:MOST_ROWS]]

    @property
    def left_out(self) -> int:
        """Number of further rows."""
        return max(len(self.rows) - MOST_ROWS, 0)


def csv_address(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """A table as CSV in a data URI."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return "data:text/csv;charset=utf-8," + quote(text.getvalue(), safe=",")


def _cell(value: str | float | int | None) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
