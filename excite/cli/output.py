"""What several verbs print."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.console import Console
from rich.table import Table


def print_json(document: Any) -> None:
    """The one JSON document on standard output."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(table: Table) -> None:
    """A table on standard output; into a file or a pipe it is not cut to the width of a screen."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    console.print(table)


def print_sentence(text: str) -> None:
    """A sentence on standard output; on a terminal it is broken between words, elsewhere not at all."""
    console = Console(highlight=False)
    console.print(text, markup=False, soft_wrap=not console.is_terminal)


def plain_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table without frames; the columns in ``right`` are aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table
