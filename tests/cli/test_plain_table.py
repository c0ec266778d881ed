"""Tables on a terminal: no number is broken, no row is lost, names are shortened in the middle."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from excite.cli.output import plain_table
from excite.cli.plain_table import PlainTable

INTERVAL = "98.1% (96.2-99.1)"
numbers = st.sampled_from(["7", "12,345", INTERVAL, "100.0% (98.8-100.0)", "-"])
names = st.text(st.sampled_from("ab/猫é "), min_size=1, max_size=60)


def comparison(runs: int, metrics: int) -> PlainTable:
    columns = [f"metric_{number}" for number in range(metrics)]
    table = plain_table("run", "images", *columns, right=("images", *columns), names=("run",))
    for number in range(runs):
        table.add_row(
            f"runs/a-rather-long-name-of-a-run-with-its-seed-{number}", "359", *[INTERVAL] * metrics
        )
    return table


@pytest.mark.parametrize("metrics", [1, 3, 5, 6, 9, 20])
def test_a_comparison_of_any_number_of_metrics_fits_80_columns(metrics: int) -> None:
    lines = comparison(2, metrics).lines(80)
    assert max(map(cell_len, lines)) <= 80
    text = "\n".join(lines)
    assert text.count("98.1%") == text.count("(96.2-99.1)") == 2 * metrics


def test_a_table_that_fits_is_not_changed() -> None:
    table = comparison(2, 1)
    assert table.lines(200) == table.lines()
    assert "runs/a-rather-long-name-of-a-run-with-its-seed-1" in "\n".join(table.lines(200))


def test_a_name_keeps_its_beginning_and_its_end() -> None:
    row = comparison(2, 2).lines(80)[1]
    assert re.match(r"runs/a-\S*…\S*seed-0 ", row)


def test_a_text_continues_below_itself() -> None:
    table = plain_table("what", "found")
    table.add_row("shortcuts", "word " * 30)
    lines = table.lines(60)
    assert max(map(len, lines)) <= 60
    assert all(line.startswith((" " * 11, "shortcuts  ")) for line in lines[1:])
    assert "\n".join(lines).count("word") == 30


@given(st.integers(30, 120), st.lists(st.tuples(names, numbers, numbers, numbers), min_size=1, max_size=5))
def test_every_number_is_whole_at_any_width(width: int, rows: list[tuple[str, str, str, str]]) -> None:
    header = ("name", "images", "accuracy", "auroc")
    table = plain_table(*header, right=header[1:], names=("name",))
    for row in rows:
        table.add_row(*row)
    lines = table.lines(width)
    assert max(map(cell_len, lines)) <= width
    shown = re.findall(r"\(\d[\d.]*-[\d.]+\)", "\n".join(lines))
    assert len(shown) == sum(cell.count("(") for row in rows for cell in row[1:])
    shown = re.findall(r"\d[\d.]*%", "\n".join(lines))
    assert len(shown) == sum(cell.count("%") for row in rows for cell in row[1:])
