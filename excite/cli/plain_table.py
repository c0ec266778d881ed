"""Tables without frames that fit the terminal: no number is ever broken, and no row is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from excite.system.text import printable, shorten_middle

GAP = 2  # columns between two cells


@dataclass(frozen=True)
class Fit:
    """How far cells may be changed to fit.

    Args:
        text: smallest width of a column of text, which continues on the next line.
        name: smallest width of a column of names, which are shortened in the middle.
        break_numbers: whether a number and its interval may stand on two lines.
    """

    text: int
    name: int
    break_numbers: bool


FITS = (Fit(40, 24, False), Fit(40, 24, True), Fit(20, 12, True))
"""From the least to the most severe; if none fits, each row becomes a block of lines."""


@dataclass
class PlainTable:
    """Rows of text below a header.

    Args:
        header: name of each column.
        right: columns of numbers, aligned to the right.
        names: columns of names and paths, which may be shortened in the middle on a terminal.
    """

    header: Sequence[str]
    right: frozenset[int] = frozenset()
    names: frozenset[int] = frozenset()
    rows: list[list[str]] = field(default_factory=list)

    def add_row(self, *cells: str) -> None:
        """Add a row; control characters are shown as escapes."""
        self.rows.append([printable(cell) for cell in cells])

    def lines(self, width: int | None = None) -> list[str]:
        """The header and the rows as lines of at most ``width`` columns; None: as wide as they are."""
        table = [[printable(cell) for cell in self.header], *self.rows]
        natural = [max(cell_len(row[i]) for row in table) for i in range(len(self.header))]
        if width is None or _total(natural) <= width:
            return [line for row in table for line in self._row(row, natural)]
        for fit in FITS:
            widths = self._fitted(table, natural, width, fit)
            if widths is not None:
                return [line for row in table for line in self._row(row, widths)]
        return self._blocks(table, width)

    def _fitted(self, table: list[list[str]], natural: list[int], width: int, fit: Fit) -> list[int] | None:
        """The width of each column; None if the table cannot be made to fit."""
        widths = list(natural)
        if fit.break_numbers:
            for i in self.right:
                widths[i] = max(_longest_word(row[i]) for row in table)
        texts = set(range(len(widths))) - self.right - self.names
        for columns, least in ((texts, fit.text), (self.names, fit.name)):
            while _total(widths) > width:
                wide = [i for i in columns if widths[i] > min(least, natural[i])]
                if not wide:
                    break
                widths[max(wide, key=lambda i: widths[i])] -= 1
        return widths if _total(widths) <= width else None

    def _row(self, row: list[str], widths: list[int]) -> list[str]:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            if cell_len(cell) <= width:
                cells.append([cell])
            elif i in self.names:
                cells.append([shorten_middle(cell, width)])
            else:
                cells.append(_wrapped(cell, width))
        lines = []
        for parts in zip_longest(*cells, fillvalue=""):
            padded = [
                " " * (width - cell_len(part)) + part
                if i in self.right
                else part + " " * (width - cell_len(part))
                for i, (part, width) in enumerate(zip(parts, widths, strict=True))
            ]
            lines.append((" " * GAP).join(padded).rstrip())
        return lines

    def _blocks(self, table: list[list[str]], width: int) -> list[str]:
        """Each row as its first cell and a line for each of the others."""
        header, *rows = table
        label = max(map(cell_len, header[1:]), default=0)
        lines = []
        for first, *rest in rows:
            lines += _wrapped(first, width)
            for name, cell in zip(header[1:], rest, strict=True):
                indent = min(label + 4, max(width - _longest_word(cell), 2))
                shown = f"  {name}{' ' * (label - cell_len(name))}  "
                if cell_len(shown) > indent:
                    lines += _wrapped(f"  {name}", width)
                    shown = " " * indent
                start, *more = _wrapped(cell, width - indent)
                lines += [f"{shown}{start}".rstrip(), *(f"{' ' * indent}{each}" for each in more)]
        return lines


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split(" ")))


def _wrapped(text: str, width: int) -> list[str]:
    lines = Text(text).wrap(Console(width=width), width, overflow="fold")
    return [line.plain.rstrip() for line in lines] or [""]
