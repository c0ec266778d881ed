"""CSV tables as spreadsheets and scripts write them: every field is text, and none counts as missing."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from excite.errors import BAD_USAGE, ExciteError

SEPARATORS = "\t,;"  # if equally frequent in the header, the first: a tab is rarely part of text
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_FIRST_ROW = re.compile(rf'(?:{_QUOTED.pattern}|[^"\r\n])*')
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[,;\t]*', re.IGNORECASE)  # Excel writes and reads such a first line


@dataclass(frozen=True)
class CsvTable:
    """A header and its rows.

    Args:
        header: unique names of the columns, without surrounding spaces.
        written: the names as they are in the file.
        rows: fields of each row, as many as the header has.
        lines: the line of the file in which each row ends.
        separator: the character between fields.
    """

    header: list[str]
    written: list[str]
    rows: list[list[str]]
    lines: list[int]
    separator: str

    def frame(self) -> pd.DataFrame:
        """The rows as a data frame of text."""
        return pd.DataFrame(self.rows, columns=pd.Index(self.header), dtype=str)


def read_table(file: str | Path, *, short_rows: bool = False) -> CsvTable:
    """Read a table with a header, separated by commas, semicolons or tabs.

    A byte order mark, blank lines, lines with only separators, and empty columns on the right are ignored.

    Args:
        short_rows: pad rows that are shorter than the header instead of refusing them.

    Raises:
        ExciteError: with the problem and its line.
    """
    file = Path(file)
    text = _text_of(file)
    separator, skipped = _separator_of(text)
    # If the header has a space after every separator, so have the rows.
    names = next((row for row in _rows(text, separator, skipped, file) if any(map(str.strip, row[1]))), None)
    if names is None:
        raise ExciteError("is an empty file", where=file)
    spaced = len(names[1]) > 1 and all(name.startswith(" ") for name in names[1][1:])
    header: list[str] = []
    written: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    for line, row in _rows(text, separator, skipped, file, spaced=spaced):
        if not any(map(str.strip, row)):
            continue
        if not header:
            header = _header_of(row, file)
            written = row[: len(header)]
            continue
        while len(row) > len(header) and not row[-1].strip():
            row.pop()
        if short_rows and len(row) < len(header):
            row.extend([""] * (len(header) - len(row)))
        if len(row) != len(header):
            what = f"line {line} has {len(row)} fields, the header has {len(header)}"
            raise ExciteError(what, where=file, hint="quote fields that contain the separator")
        rows.append(row)
        lines.append(line)
    return CsvTable(header, written, rows, lines, separator)


def _text_of(file: Path) -> str:
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise ExciteError("there is no such file", where=file, exit_code=BAD_USAGE) from error
    except OSError as error:
        raise ExciteError(f"cannot be read: {(error.strerror or '').lower()}", where=file) from error
    halves = content[:40:2], content[1:40:2]
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or any(half and not any(half) for half in halves):
        raise ExciteError("is a table in UTF-16", where=file, hint="save it as CSV in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"is not a CSV file in UTF-8 (see line {line})"
        hint = "save a table as CSV in UTF-8; unpack an archive first"
        raise ExciteError(what, where=file, hint=hint) from error


def _separator_of(text: str) -> tuple[str, int]:
    """The separator, and the number of characters before the header."""
    skipped = 0
    for line in text.splitlines(keepends=True):
        if line.strip():
            if named := _SEPARATOR_LINE.fullmatch(line.strip(" \r\n")):
                return named[1], skipped + len(line)
            break
        skipped += len(line)

    header = _FIRST_ROW.match(text, skipped)
    unquoted = _QUOTED.sub("", header[0] if header else "")
    return max(SEPARATORS, key=unquoted.count), 0


def _rows(
    text: str, separator: str, skipped: int, file: Path, *, spaced: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of every row."""
    before = text.count("\n", 0, skipped)
    reader = csv.reader(
        io.StringIO(text[skipped:], newline=""), delimiter=separator, strict=True, skipinitialspace=spaced
    )
    try:
        for row in reader:
            yield before + reader.line_num, row
    except csv.Error as error:
        what = f"is not a valid CSV file: line {before + reader.line_num}: {error}"
        raise ExciteError(what, where=file) from error


def _header_of(row: list[str], file: Path) -> list[str]:
    names = [name.strip() for name in row]
    while names and not names[-1]:
        names.pop()
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        what = f"has two columns of the same name: {twice!r}" if twice else "has two columns without a name"
        raise ExciteError(what, where=file, hint="rename one of them", exit_code=BAD_USAGE)
    return names
