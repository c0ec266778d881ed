"""The data of a chart: a short table on the page, and all of it as CSV."""

from __future__ import annotations

import csv
import io
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from excite.reporting.chart_with_data import MOST_ROWS, Chart, csv_address

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def read(address: str) -> list[list[str]]:
    head, _, content = address.partition(",")
    assert head == "data:text/csv;charset=utf-8"
    return list(csv.reader(io.StringIO(unquote(content), newline="")))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.integers(), st.one_of(st.none(), st.floats(allow_nan=False)))))
def test_the_csv_contains_every_value(rows: list[tuple[str, int, float | None]]) -> None:
    header, *found = read(csv_address(("name", "count", "value"), rows))
    assert header == ["name", "count", "value"]
    for (name, count, value), (read_name, read_count, read_value) in zip(rows, found, strict=True):
        assert (read_name, int(read_count)) == (name, count)
        if value is None:
            assert read_value == ""
        else:
            assert float(read_value) == pytest.approx(value, rel=1e-5)


def test_the_page_shows_the_first_rows_and_counts_the_others() -> None:
    rows = [(number, number / 7) for number in range(MOST_ROWS + 3)]
    chart = Chart("c", "title", Markup(""), ("x", "y"), rows)
    assert len(chart.shown_rows) == MOST_ROWS
    assert chart.shown_rows[1] == ["1", "0.142857"]
    assert chart.left_out == 3
    assert len(read(chart.address)) == MOST_ROWS + 4
    assert Chart("c", "title", Markup(""), ("x",), rows[:5]).left_out == 0
