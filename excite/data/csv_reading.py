"""A CSV file as a manifest: every field is text, so that a class may be called 01, NA or nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd

from excite.data.csv_table import read_table
from excite.data.manifest import COLUMNS, NUMBER_COLUMNS, SPLIT_WORDS, Manifest, normalize_name, split_names
from excite.data.paths import absolute_path, path_on_disk
from excite.errors import BAD_USAGE, ExciteError, unknown_name

ROLES = ("path", "label", "group", "split")
_OURS = re.compile(r"sha256|width|height|fold_\d+")  # columns that excite fills in
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")


def read_csv(file: Path, columns: dict[str, str]) -> Manifest:
    """The images that a CSV file lists; relative paths start at the CSV's own folder.

    Args:
        columns: what the file calls the path, label, group and split; the last two may be missing where
            they go by those names. Further columns are kept as text, one without a name
            as ``unnamed``; those that are called as one of the manifest's own are kept as ``NAME_original``.

    Raises:
        ExciteError: what is wrong with the file, and in which line or row.
    """
    read = read_table(file)
    header, table = read.header, read.frame()
    saved = set(COLUMNS) <= set(header)
    columns = _without_shared_columns(columns, file)
    for role, name in columns.items():
        if name not in header and (role in ("path", "label") or name != role):
            present = ", ".join(header)
            known = unknown_name("column", name, header).hint if len(header) > 1 else None
            hint = f"{known}; --{role}-column names another" if known and "mean" in known else None
            what = f"has no column {name!r}; it has: {present}"
            raise ExciteError(what, where=file, hint=hint, exit_code=BAD_USAGE)
    if not read.rows:
        raise ExciteError("has a header but no rows", where=file)
    table = table.set_axis(pd.Index(_names(header, columns, saved)), axis=1)
    for role in ("path", "label"):
        empty = table.index[table[role].str.strip() == ""]
        if len(empty) and not saved:
            what = f"{len(empty)} of {len(table)} rows have no {role}, the first is row {empty[0] + 1}"
            raise ExciteError(what, where=file, hint="fill it in, or remove the row")
    table["path"] = _absolute_paths(table["path"], file.parent)
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        what = f"{len(twice)} paths are listed more than once, the first is {twice.iloc[0]}"
        raise ExciteError(what, where=file, hint="keep one row an image")
    if "group" in table and not saved:
        table["group"] = table["group"].str.strip()
    for name in NUMBER_COLUMNS:
        if name in table:
            table[name] = [int(text) if _WHOLE_NUMBER.fullmatch(text) else 0 for text in table[name]]
    if "split" in table:
        table["split"] = _splits(table["split"], file)
    table["label"] = [normalize_name(label) for label in table["label"]]
    if not saved and "photo" in table and not _names_photos(table):
        table = table.rename(columns={"photo": _free_name("photo", set(table.columns))})
    return Manifest(table, tuple(sorted(set(table["label"]))))


def _without_shared_columns(columns: dict[str, str], file: Path) -> dict[str, str]:
    """The columns without an optional one that by its name alone would be read for two roles."""
    names = list(columns.values())
    kept = {
        role: name
        for role, name in columns.items()
        if not (role in ("group", "split") and name == role and names.count(name) > 1)
    }
    for name in kept.values():
        roles = [f"--{role}-column" for role, other in kept.items() if other == name]
        if len(roles) > 1:
            what = f"column {name!r} has two roles: {' and '.join(roles)} name it"
            raise ExciteError(what, where=file, hint="name another for one of them", exit_code=BAD_USAGE)
    return kept


def _names(header: list[str], columns: dict[str, str], saved: bool) -> list[str]:
    """The manifest's name of each column; further ones do not take the manifest's own names."""
    roles = {name: role for role, name in columns.items()}
    taken = {*ROLES, *header}
    names = []
    for name in header:
        if name in roles:
            names.append(roles[name])
        elif not name:  # pandas' index; the manifest is read again, where a last column needs a name
            names.append("unnamed" if "unnamed" not in taken else _free_name("unnamed", taken))
            taken.add(names[-1])
        elif name in ROLES or (not saved and _OURS.fullmatch(name)):
            names.append(_free_name(name, taken))
            taken.add(names[-1])
        else:
            names.append(name)
    return names


def _free_name(name: str, taken: set[str]) -> str:
    free = f"{name}_original"
    while free in taken:
        free += "_original"
    return free


def _names_photos(table: pd.DataFrame) -> bool:
    """Whether the column photo can name photos: not a few values, such as yes and no, in several classes."""
    named = table[table["photo"] != ""]
    classes = named.groupby("photo")["label"].nunique()
    return len(classes) >= 2 * table["label"].nunique() or not (classes > 1).any()


def _absolute_paths(paths: pd.Series, start: Path) -> list[str]:
    """Each path as the system means it; each folder is looked at once."""
    folders: dict[str, str] = {}
    found = []
    for path in paths:
        folder, name = os.path.split(path)
        if name in (os.curdir, os.pardir):
            folder, name = path, ""
        if folder not in folders:
            folders[folder] = str(absolute_path(folder, start))
        full = os.path.join(folders[folder], name)  # noqa: PTH118 (text)
        found.append(full if full.isascii() else str(path_on_disk(Path(full))))
    return found


def _splits(values: pd.Series, file: Path) -> list[str]:
    present = {value for value in values if value.strip()}
    meant = split_names(present)
    for name, split in meant.items():
        if not split:
            raise unknown_name("split", name, SPLIT_WORDS, where=file)
    return [meant.get(value, "") for value in values]
