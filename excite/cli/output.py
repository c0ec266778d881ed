"""Printing for several commands: user-defined names are printed literally, control characters as escapes."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from excite.cli.streams import is_utf8, write_data
from excite.system.text import printable

UNLIMITED = 1_000_000  # columns


def print_json(document: Any) -> None:
    """The one JSON document on standard output, in UTF-8 or ASCII."""
    text = json.dumps(document, indent=2, ensure_ascii=not is_utf8(sys.stdout))
    write_data(text.encode("utf-8", "backslashreplace").decode() + "\n")


def print_line(text: object = "") -> None:
    """One line on standard output."""
    print(printable(text))


def print_table(table: Table) -> None:
    """A table on standard output; into a file or a pipe it is not cut to the width of a screen."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=UNLIMITED)
    console.print(table)


def print_sentence(text: str, style: str | None = None) -> None:
    """A sentence on standard output; on a terminal it is broken between words, elsewhere not at all.

    Args:
        style: its color on a terminal.
    """
    console = Console(highlight=False)
    console.print(printable(text), style=style, markup=False, emoji=False, soft_wrap=not console.is_terminal)


class PlainTable(Table):
    """A table without frames whose cells are text, not markup."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row; control characters in strings are shown as escapes."""
        super().add_row(*(_text(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def plain_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table without frames; the columns in ``right`` are aligned to the right."""
    table = PlainTable(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(_text(column), justify="right" if column in right else "left", overflow="fold")
    return table


def _text(cell: str) -> Text:
    return Text(printable(cell), overflow="fold")
