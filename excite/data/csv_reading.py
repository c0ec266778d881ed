"""A CSV file as a manifest: every field is text, so that a class may be called 01, NA or nothing."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from excite.data.manifest import COLUMNS, NUMBER_COLUMNS, SPLIT_NAMES, Manifest
from excite.errors import BAD_USAGE, ExciteError, unknown_name

ROLES = ("path", "label", "group", "split")


def read_csv(file: Path, columns: dict[str, str]) -> Manifest:
    """The images that a CSV file lists; relative paths start at the CSV's own folder.

    Args:
        columns: what the file calls the path, label, group and split; the last two may be missing where
            they go by those names. Further columns are kept as text.

    Raises:
        ExciteError: what is wrong with the file, and in which line or row.
    """
    header, *rows = _csv_rows(file)
    table = pd.DataFrame(rows, columns=pd.Index(header), dtype=str)
    saved = set(COLUMNS) <= set(header)
    for role, name in columns.items():
        if name not in header and (role in ("path", "label") or name != role):
            present = ", ".join(header)
            known = unknown_name("column", name, header).hint if len(header) > 1 else None
            hint = f"{known}; --{role}-column names another" if known and "mean" in known else None
            what = f"has no column {name!r}; it has: {present}"
            raise ExciteError(what, where=file, hint=hint, exit_code=BAD_USAGE)
    if not rows:
        raise ExciteError("has a header but no rows", where=file)
    # With --label-column diagnosis, a column that happens to be called "label" is one of the further ones.
    taken = {name: f"{name}_original" for name in header if name in ROLES and columns[name] != name}
    table = table.rename(columns={**taken, **{name: role for role, name in columns.items()}})
    for role in ("path", "label"):
        empty = table.index[table[role].str.strip() == ""]
        if len(empty) and not saved:
            what = f"{len(empty)} of {len(table)} rows have no {role}, the first is row {empty[0] + 1}"
            raise ExciteError(what, where=file, hint="fill it in, or remove the row")
    table["path"] = [os.path.normpath(file.parent / path) for path in table["path"]]
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        what = f"{len(twice)} paths are listed more than once, the first is {twice.iloc[0]}"
        raise ExciteError(what, where=file, hint="keep one row an image")
    for name in NUMBER_COLUMNS:
        if name in table:
            table[name] = pd.to_numeric(table[name], errors="coerce").fillna(0).astype(int)
    if "split" in table:
        table["split"] = [_split_name(name, file) for name in table["split"]]
    return Manifest(table, tuple(sorted(set(table["label"]))))


def _split_name(name: str, file: Path) -> str:
    known = SPLIT_NAMES.get(name.strip().casefold(), "")
    if not known and name.strip():
        raise unknown_name("split", name, SPLIT_NAMES, where=file)
    return known


def _csv_rows(file: Path) -> Iterator[list[str]]:
    """The header, then every row, all of one length; nothing is taken for a number or for missing."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            # Spreadsheets of many countries write semicolons.
            reader = csv.reader(stream, delimiter=max(",;\t", key=first.count), strict=True)
            header: list[str] = []
            for row in reader:
                if not header:
                    header = [name.strip() for name in row]
                    if len(set(header)) < len(header):
                        raise ExciteError("has two columns of the same name", where=file)
                    yield header
                elif row and len(row) != len(header):
                    what = f"line {reader.line_num} has {len(row)} fields, the header has {len(header)}"
                    raise ExciteError(what, where=file, hint="quote fields that hold the separator")
                elif row:
                    yield row
            if not header:
                raise ExciteError("is an empty file", where=file)
    except UnicodeDecodeError as error:
        hint = "save a table as CSV in UTF-8; unpack an archive first"
        raise ExciteError("is neither a folder nor a CSV file in UTF-8", where=file, hint=hint) from error
    except csv.Error as error:
        raise ExciteError(f"is not a CSV file that can be read: {error}", where=file) from error
    except OSError as error:
        raise ExciteError(f"cannot be read: {(error.strerror or '').lower()}", where=file) from error
