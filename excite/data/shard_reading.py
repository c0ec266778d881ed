"""Read shards as a manifest, by their index."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from pathlib import Path

import pandas as pd

from excite.data.manifest import Manifest, normalize_name
from excite.data.shard_index import FACTS, INDEX, INDEX_COLUMNS, ShardFacts, read_beside
from excite.data.stored_image import RESTORE, is_remote
from excite.errors import ExciteError, unknown_name


def read_facts(folder: str) -> ShardFacts:
    """The content of ``shards.json``.

    Raises:
        ExciteError: if it is missing or damaged.
    """
    where = f"{folder}/{FACTS}"

    def check(content: bytes) -> None:
        ShardFacts.from_json(content.decode(errors="replace"), where)

    return ShardFacts.from_json(read_beside(folder, FACTS, check).decode(), where)


def read_shards(folder: str, *, group_column: str = "group") -> Manifest:
    """The images of shards in the order of the data set they were written from.

    The shards are not opened; that none is missing or truncated is seen from their sizes.

    Args:
        folder: the path of the shards, or an address such as ``s3://bucket/shards``.
        group_column: the column of the index with the group.

    Raises:
        ExciteError: for a missing or truncated shard, a damaged index, and an unknown column.
    """
    facts = read_facts(folder)

    def check(content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != facts.index_sha256:
            what = "the index has changed: its SHA-256 differs"
            raise ExciteError(what, where=f"{folder}/{INDEX}", hint=RESTORE)

    content = read_beside(folder, INDEX, check)
    if not is_remote(folder):
        check_sizes(folder, facts)
    table = pd.read_csv(
        io.BytesIO(content),
        dtype=defaultdict(lambda: "object", {"offset": "int64", "size": "int64"}),
        keep_default_na=False,
        na_filter=False,
        engine="c",
    )
    if group_column not in table:
        raise unknown_name("column", group_column, map(str, table.columns), where=f"{folder}/{INDEX}")
    if group_column != "group":
        table["group"] = table[group_column].astype(str).str.strip()
    return Manifest(_absolute(table, folder), _classes(table))


def check_sizes(folder: str, facts: ShardFacts) -> None:
    """Raises: ExciteError for the first shard that is missing or does not have its size."""
    for shard in facts.shards:
        path = Path(folder, shard.name)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise ExciteError("the shard is missing", where=path, hint=RESTORE) from error
        if size != shard.size:
            state = "is truncated" if size < shard.size else "is too long"
            what = f"the shard {state}: it has {size:,} of {shard.size:,} bytes"
            raise ExciteError(what, where=path, hint=RESTORE)


def _absolute(table: pd.DataFrame, folder: str) -> pd.DataFrame:
    """The table with paths that name the shard and the image."""
    shards = {name: f"{folder}/{name}" for name in table["shard"].unique()}
    shard = [shards[name] for name in table["shard"]]  # one string for all images of a shard
    path = [f"{place}/{name}" for place, name in zip(shard, table["path"], strict=True)]
    first = {"path": path, "shard": shard}
    return table.assign(**first)[[*INDEX_COLUMNS, *(c for c in table if c not in INDEX_COLUMNS)]]


def _classes(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(sorted({normalize_name(label) for label in table["label"].unique()}))
