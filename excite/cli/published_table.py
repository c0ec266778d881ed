"""``excite summary --table``: the networks of the papers beside their published figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from excite.cli.output import plain_table, print_json, print_line, print_table

if TYPE_CHECKING:
    from excite.models.published_results import MeasuredCost


def print_published(as_json: bool) -> None:
    """Print parameters, multiply-adds, and errors: measured here, and as published."""
    from dataclasses import asdict

    from excite.insertion.insert import insert
    from excite.models.published_results import measure_all

    rows = measure_all(insert)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    columns = ("parameters", "paper", "with SE", "paper", "G multiply-adds", "paper", "with SE", "paper")
    table = plain_table(
        "network", *columns, "top-1 error", "with SE", right=(*columns, "top-1 error", "with SE")
    )
    for row in rows:
        table.add_row(row.published.title, *_cells(row))
    print_table(table)
    notes = [f"{row.published.title}: {row.published.difference}" for row in rows if row.published.difference]
    print_line()
    print_line(
        "One image of the size in the paper; the columns 'paper' and the errors in % are published values, "
        "whose sources are in excite/models/published_results.py."
    )
    for note in notes:
        print_line(note)


def _cells(row: MeasuredCost) -> list[str]:
    """Measured and published figures side by side; a dash where there is none."""
    paper = row.published
    plain_error, se_error = paper.plain[0] or paper.original[0], paper.se[0]

    def count(value: int | None) -> str:
        return "-" if value is None else f"{value:,}"

    def giga(value: int | None) -> str:
        return "-" if value is None else f"{value / 1e9:.3f}"

    def published(value: float | None, unit: str = "") -> str:
        return "-" if value is None else f"{value:g}{unit}"

    return [
        *(count(row.parameters), published(paper.parameters, " M")),
        *(count(row.se_parameters), published(paper.se_parameters, " M")),
        *(giga(row.multiply_adds), published(paper.gmacs)),
        *(giga(row.se_multiply_adds), published(paper.se_gmacs)),
        *(published(plain_error), published(se_error)),
    ]
