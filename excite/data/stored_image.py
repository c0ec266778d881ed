"""Where the bytes of an image are: a file of its own, or a part of a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import FileIO
from typing import TYPE_CHECKING, NamedTuple, overload

from excite.errors import ExciteError

if TYPE_CHECKING:
    import pandas as pd

SHARD_COLUMNS = ("shard", "offset", "size")
RESTORE = "restore it, or write the shards again with excite shard"


class StoredImage(NamedTuple):
    """The place of an image's bytes.

    Args:
        path: of the image; in a shard, the path of the shard and the name of the image.
        shard: path or address of the shard; "" for a file of its own.
        offset, size: of the image in the shard, in bytes.
        sha256: hash that the bytes must have; "" if unknown.

    Example:
        >>> StoredImage("/photos/a.jpg").shard, StoredImage("/s/0.tar/a.jpg", "/s/0.tar", 512, 20).size
        ('', 20)
    """

    path: str
    shard: str = ""
    offset: int = 0
    size: int = 0
    sha256: str = ""

    def read(self) -> bytes:
        """The bytes of an image in a shard.

        Raises:
            ExciteError: if the shard is missing or truncated, or cannot be read.
        """
        if is_remote(self.shard):
            from excite.data.remote import remote_file

            return remote_file(self.shard).read(self.offset, self.size, self.sha256, self.path)
        try:
            with FileIO(self.shard) as file:  # without a buffer, which takes longer than a small image
                file.seek(self.offset)
                content = file.read(self.size)
        except FileNotFoundError as error:
            raise ExciteError("the shard is missing", where=self.shard, hint=RESTORE) from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ExciteError(f"the shard cannot be read: {reason}", where=self.shard) from error
        if len(content) < self.size:
            what = f"the shard is truncated: it ends before {self.path}"
            raise ExciteError(what, where=self.shard, hint=RESTORE)
        return content


class StoredImages(Sequence[StoredImage]):
    """The files of a table's rows, made when they are asked for: a million objects take 100 MB.

    Args:
        table: with the columns ``path`` and ``sha256``, and those of ``SHARD_COLUMNS`` or none of them.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._sharded = SHARD_COLUMNS[0] in table
        names = ("path", *SHARD_COLUMNS, "sha256") if self._sharded else ("path",)
        self._columns = [table[name].to_numpy() for name in names]

    def __len__(self) -> int:
        return len(self._columns[0])

    @overload
    def __getitem__(self, index: int) -> StoredImage: ...

    @overload
    def __getitem__(self, index: slice) -> list[StoredImage]: ...

    def __getitem__(self, index: int | slice) -> StoredImage | list[StoredImage]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        path, *place = (column[index] for column in self._columns)
        if not place or not place[0]:
            return StoredImage(path)
        shard, offset, size, sha256 = place
        return StoredImage(path, shard, int(offset), int(size), sha256)

    def __iter__(self) -> Iterator[StoredImage]:
        return (self[index] for index in range(len(self)))


def is_remote(place: str) -> bool:
    """Whether a place is the address of an object store, such as ``s3://bucket/shards``, and not a path.

    >>> is_remote("s3://bucket/shards"), is_remote("/photos")
    (True, False)
    """
    return "://" in place


def changed_bytes(file: StoredImage) -> ExciteError:
    """The error for bytes of a shard that do not have the hash of its index."""
    what = f"the bytes of {file.path} have changed since the shard was written: their SHA-256 differs"
    return ExciteError(what, where=file.shard, hint=RESTORE)
