"""One shard: a tar file in WebDataset's layout, which is read back after it was written."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TypedDict

from excite.data.decoding import IMAGE_SUFFIXES, image_format
from excite.data.foreign_formats import HEAD_BYTES
from excite.data.stored_image import StoredImage, changed_bytes
from excite.errors import ExciteError
from excite.system.files import replacing

BLOCK, RECORD = 512, 10_240
"""Units of a tar file in bytes: members are padded to the first, the file to the second."""


class WrittenShard(TypedDict):
    """Size and hash of a shard, and (row, offset, size, hash) of each image in it."""

    size: int
    sha256: str
    members: list[tuple[int, int, int, str]]


def write_tar(
    path: Path,
    rows: Sequence[int],
    files: Sequence[StoredImage],
    sizes: Sequence[int],
    targets: Sequence[int],
) -> WrittenShard:
    """Write images into a tar file and read them back; after an image ``N.jpg``, ``N.cls`` holds its class.

    Args:
        path: of the tar file, which is replaced as a whole.
        rows: the images, by row.
        files, sizes, targets: where each image of the data set is, its bytes, and its class.

    Raises:
        ExciteError: for an image that does not have its size or hash, or that is read back otherwise.
        OSError: if the file cannot be written.
    """
    members: list[tuple[int, int, int, str]] = []
    whole, end = hashlib.sha256(), 0
    with replacing(path) as file:

        def put(content: bytes) -> None:
            nonlocal end
            file.write(content)
            whole.update(content)
            end += len(content)

        for row in rows:
            content = _content(files[row], sizes[row])
            key = f"{row:09d}"
            put(_header(f"{key}{_extension(files[row], content)}", len(content)))
            members.append((row, end, len(content), hashlib.sha256(content).hexdigest()))
            put(content + bytes(-len(content) % BLOCK))
            label = str(targets[row]).encode()
            put(_header(f"{key}.cls", len(label)) + label + bytes(-len(label) % BLOCK))
        put(bytes(2 * BLOCK + -(end + 2 * BLOCK) % RECORD))
        file.flush()
        _read_back(Path(file.name), path, members)
    return {"size": end, "sha256": whole.hexdigest(), "members": members}


def _content(file: StoredImage, size: int) -> bytes:
    try:
        content = file.read() if file.shard else Path(file.path).read_bytes()
    except OSError as error:
        raise ExciteError(f"cannot be read: {(error.strerror or '').lower()}", where=file.path) from error
    if file.shard and hashlib.sha256(content).hexdigest() != file.sha256:
        raise changed_bytes(file)
    if len(content) != size:
        raise ExciteError("has changed while the shards were written", where=file.path, hint="run it again")
    return content


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _extension(file: StoredImage, content: bytes) -> str:
    """By which readers of tar files choose a decoder: that of the name, or else of the format."""
    suffix = PurePosixPath(file.path).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return suffix
    format = image_format(content[:HEAD_BYTES]) or "bin"
    return "." + {"JPEG": "jpg", "JPEG 2000": "jp2"}.get(format, format.lower())


def _read_back(written: Path, path: Path, members: Sequence[tuple[int, int, int, str]]) -> None:
    with written.open("rb") as file:
        for _, offset, size, sha256 in members:
            file.seek(offset)
            if hashlib.sha256(file.read(size)).hexdigest() != sha256:
                raise ExciteError("was not written as it was read", where=path, hint="check the disk")
