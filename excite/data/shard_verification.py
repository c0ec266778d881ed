"""Read shards from one end to the other and compare them with their index."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from excite.data.manifest import Manifest
from excite.data.shard_reading import read_shards
from excite.data.stored_image import StoredImage, changed_bytes
from excite.errors import ExciteError
from excite.system.parallel import Progress, in_threads


def verify_shards(folder: str, progress: Progress | None = None) -> tuple[Manifest, list[ExciteError]]:
    """The images of shards, and an error for each image whose bytes are not those that were written.

    Args:
        folder: the path of the shards, or an address such as ``s3://bucket/shards``.
        progress: called with (images read, images).

    Raises:
        ExciteError: for a missing or truncated shard, and for an index that is damaged.
    """
    manifest = read_shards(folder)
    files = _by_place(manifest)
    problems = [problem for problem in in_threads(_problem, files, progress=progress) if problem is not None]
    return manifest, problems


def _by_place(manifest: Manifest) -> Sequence[StoredImage]:
    """The files in the order in which they are stored, which disks read fastest."""
    table = manifest.table.sort_values(["shard", "offset"])
    return Manifest(table, manifest.classes).files()


def _problem(file: StoredImage) -> ExciteError | None:
    try:
        content = file.read()
    except ExciteError as error:
        return error
    return None if hashlib.sha256(content).hexdigest() == file.sha256 else changed_bytes(file)
