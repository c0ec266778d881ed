"""The files beside shards: ``index.csv`` with one row per image, and ``shards.json`` about the whole."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from excite.data.stored_image import RESTORE, StoredImage, is_remote
from excite.errors import ExciteError

INDEX, FACTS = "index.csv", "shards.json"
BEGUN = ".begun"  # folder with what is known of the finished shards, while others are written
INDEX_COLUMNS = ("shard", "offset", "size", "sha256", "label", "group", "split", "photo", "path")
"""The columns of ``index.csv``, before those of the user. ``path`` is the name of the image in the data set
that was sharded."""
SUFFIX = ".tar"
FORMAT = 1
_CACHED = 16  # shards whose index is in memory, for images that are named by their path alone


@dataclass(frozen=True)
class Shard:
    """A shard as ``shards.json`` describes it: its file name, bytes, hash, and number of images."""

    name: str
    size: int
    sha256: str
    images: int


@dataclass(frozen=True)
class ShardFacts:
    """The content of ``shards.json``.

    Args:
        images: number of images in all shards.
        index_sha256: hash of ``index.csv``.
        shards: the shards, by name.
        source: hash of what the shards were written from: files with sizes and times, labels, groups, splits.
    """

    images: int
    index_sha256: str
    shards: tuple[Shard, ...]
    source: str

    def to_json(self) -> str:
        """The text of ``shards.json``."""
        document = {"format": FORMAT, **asdict(self)}
        return json.dumps(document | {"sha256": _hash(document)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> ShardFacts:
        """The inverse of ``to_json``.

        Raises:
            ExciteError: for a text that is damaged, or that a later version has written.
        """
        try:
            document: dict[str, Any] = json.loads(text)
            if document["format"] != FORMAT:
                what = f"the shards have format {document['format']}, this version reads format {FORMAT}"
                raise ExciteError(what, where=where, hint="update excite")
            if document.pop("sha256") != _hash(document):
                raise ValueError
            shards = tuple(Shard(**each) for each in document["shards"])
            return cls(
                int(document["images"]), str(document["index_sha256"]), shards, str(document["source"])
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ExciteError("is damaged", where=where, hint=RESTORE) from error


def _hash(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def read_beside(folder: str, name: str, check: Callable[[bytes], None] = lambda content: None) -> bytes:
    """The content of a file beside shards.

    Args:
        check: raises ExciteError for a content that is not what was written; an object store is then asked
            again.

    Raises:
        ExciteError: if it is missing or cannot be read.
    """
    where = f"{folder}/{name}"
    if is_remote(folder):
        from excite.data.remote import remote_file

        return remote_file(where).read_whole(check)
    try:
        content = Path(where).read_bytes()
    except OSError as error:
        raise ExciteError(f"cannot be read: {(error.strerror or '').lower()}", where=where) from error
    check(content)
    return content


def has_shards(folder: Path) -> bool:
    """Whether a folder holds shards with an index."""
    return (folder / FACTS).is_file()


def shards_above(path: str) -> Iterator[str]:
    """What may be the shard of an image, if the image is in one.

    >>> list(shards_above("/shards/000000.tar/ants/1.jpg"))
    ['/shards/000000.tar']
    """
    end = -1
    while (end := path.find(f"{SUFFIX}/", end + 1)) >= 0:
        yield path[: end + len(SUFFIX)]


def locate(path: str) -> StoredImage | None:
    """The place of an image that is named by the path of its shard and its own; None if it is in no shard.

    Raises:
        ExciteError: if the index beside the shard cannot be read.
    """
    for shard in shards_above(path):
        folder, _, name = shard.rpartition("/")
        if not is_remote(shard) and not (Path(shard).is_file() and has_shards(Path(folder))):
            continue
        stamp = 0 if is_remote(shard) else Path(folder, INDEX).stat().st_mtime_ns
        place = _places(folder, name, stamp).get(path[len(shard) + 1 :])
        if place is not None:
            return StoredImage(path, shard, *place)
    return None


@lru_cache(maxsize=_CACHED)
def _places(folder: str, shard: str, stamp: int) -> dict[str, tuple[int, int, str]]:
    """Image -> (offset, size, SHA-256) in one shard; read again when the index has another ``stamp``."""
    text = io.StringIO(read_beside(folder, INDEX).decode(), newline="")
    return {
        row["path"]: (int(row["offset"]), int(row["size"]), row["sha256"])
        for row in csv.DictReader(text, strict=True)
        if row["shard"] == shard
    }
