"""Columns of a table that look like groups: by their name, and because their values repeat."""

from __future__ import annotations

import re
from dataclasses import dataclass

from excite.data.manifest import COLUMNS, Manifest

_WORDS = (
    "animal|case|clip|donor|exam|examination|family|group|individual|lesion|participant|patient|person|"
    "pid|proband|scene|sequence|series|session|slide|specimen|study|subject|video|visit|volunteer"
)
_NAME = re.compile(rf"(?:^|[_\W])(?:{_WORDS})s?(?:$|[_\W]|\d)|(?:^|[_\W])u?id$")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class GroupColumn:
    """A column that looks like groups.

    Args:
        name: of the column.
        groups: number of its values.
        images: number of images that have one.
    """

    name: str
    groups: int
    images: int


def group_columns(manifest: Manifest) -> list[GroupColumn]:
    """The user's columns that look like groups, the one with the most groups first.

    The name contains a word such as patient, subject, or case, or ends in ``id``; and its values repeat,
    which those of an image's own number do not. Columns that say as little as the class are left out.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"path": list("abcd"), "label": list("xxyy"), "patient_id": list("1123")})
        >>> group_columns(Manifest(table, ("x", "y")))
        [GroupColumn(name='patient_id', groups=3, images=4)]
    """
    found = []
    for name in manifest.table.columns:
        if name in COLUMNS or not _NAME.search(_CAMEL.sub("_", str(name)).casefold()):
            continue
        values = manifest.table[name].astype(str).str.strip()
        values = values[values != ""]
        groups = values.nunique()
        if len(manifest.classes) < groups < len(values):
            found.append(GroupColumn(str(name), int(groups), len(values)))
    return sorted(found, key=lambda column: -column.groups)


def group_columns_text(manifest: Manifest) -> str:
    """That columns look like groups although none is used, in one line; "" if none does."""
    if manifest.has_named_groups or not (found := group_columns(manifest)):
        return ""
    named = ", ".join(f"{column.name!r} ({column.groups} values)" for column in found[:3])
    verb = "looks" if len(found) == 1 else "look"
    noun = "column" if len(found) == 1 else "columns"
    return (
        f"{noun} {named} {verb} like groups, which a split must keep together: --group-column {found[0].name}"
    )
