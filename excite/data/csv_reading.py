"""A CSV file as a manifest: every field is text, so that a class may be called 01, NA, or nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from excite.data.csv_table import read_table
from excite.data.label_reading import LabelFormat, read_labels
from excite.data.labels import LABEL, label_names
from excite.data.manifest import COLUMNS, NUMBER_COLUMNS, SPLIT_WORDS, Manifest, normalize_name, split_names
from excite.data.paths import absolute_path, path_on_disk
from excite.data.stored_image import SHARD_COLUMNS, is_remote
from excite.errors import BAD_USAGE, ExciteError, unknown_name

ROLES = ("path", "label", "group", "split")
_RESERVED = re.compile(rf"sha256|width|height|shard|fold_\d+|{LABEL}.*")  # columns that excite writes
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")


def read_csv(file: Path, columns: dict[str, str], labels: LabelFormat | None = None) -> Manifest:
    """The images that a CSV file lists; relative paths start at the folder of the CSV.

    Args:
        columns: name of the column for path, label, group, and split; the last two may be missing if they
            have their default names. Other columns are kept as text: one without a name as ``unnamed``, one
            with the name of a column of the manifest as ``NAME_original``.
        labels: how the table holds several labels of an image; None: one class, or as a manifest was saved.

    Raises:
        ExciteError: with the problem and its line or row.
    """
    csv_table = read_table(file)
    header, table = csv_table.header, csv_table.frame()
    # A table that a manifest was saved to is read back as it was.
    saved = set(COLUMNS) <= set(header) and ("shard" not in header or set(SHARD_COLUMNS) <= set(header))
    labels = labels or LabelFormat()
    several = labels.given or (saved and bool(label_names(header)))
    if several and not labels.separator and not saved:
        columns = {role: name for role, name in columns.items() if role != "label"}
    columns = _without_shared_columns(columns, file)
    _require_columns(columns, header, file)
    if not csv_table.rows:
        raise ExciteError("has a header but no rows", where=file)
    classes, values = read_labels(table, labels, columns.get("label"), file) if several else ((), table[[]])
    table = table.set_axis(pd.Index(_names(header, columns, saved)), axis=1)
    table = table.drop(columns=[name for name in labels.names if name in table])
    if not saved:
        _require_values(table, file, ("path",) if several else ("path", "label"))
    table["path"] = _absolute_paths(table["path"], file.parent)
    repeated = table["path"][table["path"].duplicated()]
    if len(repeated):
        what = f"{len(repeated)} paths are listed more than once, the first is {repeated.iloc[0]}"
        raise ExciteError(what, where=file, hint="keep one row per image")
    if "group" in table and not saved:
        table["group"] = table["group"].str.strip()
    for name in NUMBER_COLUMNS:
        if name in table:
            table[name] = [int(text) if _WHOLE_NUMBER.fullmatch(text) else 0 for text in table[name]]
    if "shard" in table:
        place = {name: pd.to_numeric(table[name], errors="coerce") for name in SHARD_COLUMNS[1:]}
        table = table.assign(**place)
    if "split" in table:
        table["split"] = _splits(table["split"], file)
    if several:
        table = table.assign(**{str(name): values[name] for name in values})
    else:
        table["label"] = [normalize_name(label) for label in table["label"]]
        classes = tuple(sorted(set(table["label"])))
    if not saved and "photo" in table and not _names_photos(table, classes):
        table = table.rename(columns={"photo": _free_name("photo", set(table.columns))})
    return Manifest(table, classes)


def _require_columns(columns: dict[str, str], header: list[str], file: Path) -> None:
    """Raises: ExciteError for the first column that the file does not have."""
    missing = (
        (role, name)
        for role, name in columns.items()
        if name not in header and (role in ("path", "label") or name != role)
    )
    for role, name in missing:
        nearest = unknown_name("column", name, header).hint if len(header) > 1 else None
        hint = f"{nearest}; --{role}-column names another" if nearest and "mean" in nearest else None
        what = f"has no column {name!r}; the columns are: {', '.join(header)}"
        raise ExciteError(what, where=file, hint=hint, exit_code=BAD_USAGE)


def _require_values(table: pd.DataFrame, file: Path, roles: tuple[str, ...]) -> None:
    """Raises: ExciteError for rows without a path or label."""
    for role in roles:
        empty = table.index[table[role].str.strip() == ""]
        if len(empty):
            what = f"{len(empty)} of {len(table)} rows have no {role}, the first is row {empty[0] + 1}"
            raise ExciteError(what, where=file, hint="fill it in, or remove the row")


def _without_shared_columns(columns: dict[str, str], file: Path) -> dict[str, str]:
    """The columns without a group or split whose default name is the column of another role.

    Raises:
        ExciteError: if two options name the same column.
    """
    names = list(columns.values())
    unshared = {
        role: name
        for role, name in columns.items()
        if not (role in ("group", "split") and name == role and names.count(name) > 1)
    }
    for name in unshared.values():
        options = [f"--{role}-column" for role, other in unshared.items() if other == name]
        if len(options) > 1:
            what = f"{' and '.join(options)} name the same column, {name!r}"
            raise ExciteError(what, where=file, hint="choose another for one of them", exit_code=BAD_USAGE)
    return unshared


def _names(header: list[str], columns: dict[str, str], saved: bool) -> list[str]:
    """The manifest's name of each column; other columns do not take the manifest's own names."""
    roles = {name: role for role, name in columns.items()}
    taken = {*ROLES, *header}
    names = []
    for column in header:
        name = roles.get(column, column)
        # An index column of pandas has no name, but the manifest cannot be read back without one.
        if column not in roles and not column:
            name = "unnamed" if "unnamed" not in taken else _free_name("unnamed", taken)
        if column not in roles and (column in ROLES or (not saved and _RESERVED.fullmatch(column))):
            name = _free_name(column.replace(LABEL, "label_"), taken)
        names.append(name)
        taken.add(name)
    return names


def _free_name(name: str, taken: set[str]) -> str:
    free = f"{name}_original"
    while free in taken:
        free += "_original"
    return free


def _names_photos(table: pd.DataFrame, classes: Sequence[str]) -> bool:
    """Whether the column ``photo`` identifies photos, and does not hold a few values such as yes and no."""
    named = table[table["photo"] != ""]
    if "label" not in table:  # several labels
        return named["photo"].nunique() >= 2 * len(classes)
    labels = named.groupby("photo")["label"].nunique()
    return len(labels) >= 2 * len(classes) or not (labels > 1).any()


def _absolute_paths(paths: pd.Series, start: Path) -> list[str]:
    """The absolute path of each image; each folder is resolved once."""
    folders: dict[str, str] = {}
    absolute = []
    for path in paths:
        folder, name = os.path.split(path)
        if name in (os.curdir, os.pardir):
            folder, name = path, ""
        if folder not in folders:
            folders[folder] = folder if is_remote(folder) else str(absolute_path(folder, start))
        full = os.path.join(folders[folder], name)  # noqa: PTH118 (text)
        absolute.append(full if full.isascii() else str(path_on_disk(Path(full))))
    return absolute


def _splits(values: pd.Series, file: Path) -> list[str]:
    splits = split_names({value for value in values if value.strip()})
    for name, split in splits.items():
        if not split:
            raise unknown_name("split", name, SPLIT_WORDS, where=file)
    return [splits.get(value, "") for value in values]
