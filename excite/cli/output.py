"""Printing for several commands: user-defined names are printed literally, control characters as escapes."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.cells import cell_len
from rich.console import Console, RenderableType

from excite.cli.plain_table import PlainTable
from excite.cli.streams import is_utf8, write_data
from excite.system.progress import LABEL, ConsoleDisplay
from excite.system.text import printable

UNLIMITED = 1_000_000  # columns


def loading(display: ConsoleDisplay) -> AbstractContextManager[None]:
    """Show on a terminal that libraries are being imported, which takes seconds; elsewhere nothing."""
    return display.waiting("loading") if display.console.is_terminal else nullcontext()


def print_json(document: Any) -> None:
    """The one JSON document on standard output, in UTF-8 or ASCII."""
    text = json.dumps(document, indent=2, ensure_ascii=not is_utf8(sys.stdout))
    write_data(text.encode("utf-8", "backslashreplace").decode() + "\n")


def print_error(message: str, hint: str | None = None) -> None:
    """One line on standard error; on a terminal too narrow for it, lines of it, with the hint below.

    A hint that holds a command is not broken: it is copied.
    """
    console = Console(stderr=True, highlight=False)
    line, advice = printable(f"excite: {message}"), printable(f" ({hint})") if hint else ""
    lines = [line + advice]
    if console.is_terminal and cell_len(lines[0]) > console.width:
        lines = _broken(line, console.width)
        lines += [advice.strip()] if "excite " in advice else _broken(advice.strip(), console.width)
    print("\n".join(lines), file=sys.stderr, flush=True)


def print_line(text: object = "") -> None:
    """One line on standard output."""
    print(printable(text))


def print_table(table: PlainTable) -> None:
    """A table on standard output; into a file or a pipe it is not fitted to the width of a screen."""
    console = Console(highlight=False)
    for number, line in enumerate(table.lines(console.width if console.is_terminal else None)):
        style = "bold" if number == 0 else None
        console.print(line, style=style, markup=False, emoji=False, soft_wrap=True)


def print_sentence(text: str, style: str | None = None) -> None:
    """A sentence on standard output; on a terminal it is broken between words, elsewhere not at all.

    Args:
        style: its color on a terminal.
    """
    console = Console(highlight=False)
    lines = [printable(text)]
    if console.is_terminal:
        lines = _broken(lines[0], console.width)
    for line in lines or [""]:
        console.print(line, style=style, markup=False, emoji=False, soft_wrap=True)


def _broken(text: str, width: int) -> list[str]:
    """The text in lines that are broken between words."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def print_renderable(renderable: RenderableType) -> None:
    """A rich object, such as a table with colors, on standard output; in a pipe it is not cut."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=UNLIMITED)
    console.print(renderable)


def print_labeled(label: str, text: str) -> None:
    """A text after a label on standard output; on a terminal it continues below its beginning."""
    console = Console(highlight=False)
    lines = [printable(text)]
    if console.is_terminal:
        room = max(console.width - LABEL, 2 * LABEL)
        lines = _broken(lines[0], room) or [""]
    for number, line in enumerate(lines):
        console.print(f"{'' if number else label:<{LABEL}}{line}", markup=False, emoji=False, soft_wrap=True)


def plain_table(*columns: str, right: Sequence[str] = (), names: Sequence[str] = ()) -> PlainTable:
    """A table without frames; ``right`` are columns of numbers, ``names`` may be shortened to fit."""
    numbers = frozenset(i for i, column in enumerate(columns) if column in right)
    named = frozenset(i for i, column in enumerate(columns) if column in names)
    return PlainTable(columns, numbers, named - numbers)
