"""Write a data set as shards: tar files in WebDataset's layout, with an index by which images are read."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from excite.data.manifest import COLUMNS, Manifest
from excite.data.shard_index import BEGUN, FACTS, INDEX, INDEX_COLUMNS, SUFFIX, Shard, ShardFacts
from excite.data.shard_writing import BLOCK, WrittenShard, write_tar
from excite.data.stored_image import SHARD_COLUMNS, StoredImage
from excite.errors import BAD_USAGE, ExciteError
from excite.system.files import replacing, write_text
from excite.system.parallel import Progress, in_threads

SHARD_BYTES = 256 * 2**20
"""Size of a shard by default: large enough to be read at the speed of a disk or an object store."""

_PLAN = "plan.json"  # in it: what the shards are written from
_ORDER_SEED = 0


@dataclass(frozen=True)
class _Plan:
    """What is written where, a function of the images alone, so that an interrupted command goes on with it.

    Args:
        source: hash of what the shards are written from.
        files: of the images, in the order of the manifest.
        sizes: of the files, in bytes.
        targets: class of each image.
        rows: for each shard, the rows of its images.
    """

    source: str
    files: Sequence[StoredImage]
    sizes: list[int]
    targets: list[int]
    rows: tuple[np.ndarray, ...]


def write_shards(
    manifest: Manifest, out: Path, *, shard_bytes: int = SHARD_BYTES, progress: Progress | None = None
) -> ShardFacts:
    """Write the images of a manifest as they are, unreadable ones too, into shards, and read them back.

    Images are stored in a fixed random order, so that readers that read shards from one end to the other see
    the classes mixed; the index keeps the order of the manifest. After an interruption the command writes
    the shards that are missing. ``shards.json`` is written last.

    Args:
        manifest: the images, as ``read_manifest`` returns them.
        out: a folder that does not exist, is empty, or holds shards of the same images.
        shard_bytes: size from which on a new shard begins.
        progress: called with (images written, images).

    Raises:
        ExciteError: for a folder with something else, for an image that changes while it is written, and if
            the shards cannot be written or read back.
    """
    plan = _plan(manifest, shard_bytes)
    with _opened(out, plan) as done:
        if done is not None:
            return done
        write = partial(_finished_shard, plan=plan, out=out)
        parts: list[WrittenShard] = []
        written = 0
        for part in in_threads(write, range(len(plan.rows)), batch=64):
            parts.append(part)
            written += len(part["members"])
            if progress is not None:
                progress(written, len(manifest))
        index = _index(manifest, parts)
        facts = ShardFacts(
            len(manifest),
            hashlib.sha256(index).hexdigest(),
            tuple(
                Shard(_name(number), part["size"], part["sha256"], len(part["members"]))
                for number, part in enumerate(parts)
            ),
            plan.source,
        )
        with _writing(out), replacing(out / INDEX) as file:
            file.write(index)
        write_text(out / FACTS, facts.to_json())
        shutil.rmtree(out / BEGUN)
    return facts


def _plan(manifest: Manifest, shard_bytes: int) -> _Plan:
    files = manifest.files()
    digest = hashlib.sha256(f"{shard_bytes}".encode())
    sizes = np.empty(len(files), dtype=np.int64)
    kept = manifest.table[["label", "group", "split", "photo"]].itertuples(index=False)
    for row, (file, facts) in enumerate(zip(files, kept, strict=True)):
        sizes[row], state = _state(file)
        digest.update("\0".join((file.path, state, *facts, "")).encode())
    order = np.random.default_rng(_ORDER_SEED).permutation(len(files))
    padded = -(-sizes[order] // BLOCK) * BLOCK + 3 * BLOCK  # with its header, its class, and that header
    shard = (np.cumsum(padded) - padded) // shard_bytes
    rows = tuple(np.split(order, np.flatnonzero(np.diff(shard)) + 1))
    return _Plan(digest.hexdigest(), files, sizes.tolist(), manifest.targets().tolist(), rows)


def _state(file: StoredImage) -> tuple[int, str]:
    """The size of an image, and what changes when its bytes do."""
    if file.shard:
        return file.size, file.sha256
    try:
        status = Path(file.path).stat()
    except OSError as error:
        raise ExciteError(f"cannot be read: {(error.strerror or '').lower()}", where=file.path) from error
    return status.st_size, f"{status.st_size} {status.st_mtime_ns}"


@contextmanager
def _opened(out: Path, plan: _Plan) -> Iterator[ShardFacts | None]:
    """The folder, locked and ready for shards of this plan; yields the facts if they are complete."""
    where = out / BEGUN / _PLAN
    if (out / FACTS).is_file():
        facts = ShardFacts.from_json((out / FACTS).read_text(encoding="utf-8"), str(out / FACTS))
        if facts.source != plan.source:
            raise ExciteError("holds shards of other images", where=out, hint=_ELSEWHERE, exit_code=BAD_USAGE)
        yield facts
        return
    if where.is_file():
        if json.loads(where.read_text(encoding="utf-8"))["source"] != plan.source:
            what = "holds the begun shards of other images, or of these before they changed"
            raise ExciteError(what, where=out, hint=_ELSEWHERE, exit_code=BAD_USAGE)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExciteError("exists already", where=out, hint=_ELSEWHERE, exit_code=BAD_USAGE)
    with _writing(out):
        (out / BEGUN).mkdir(parents=True, exist_ok=True)
        write_text(where, json.dumps({"source": plan.source}))
    try:
        with FileLock(out / BEGUN / ".lock", timeout=0):
            for leftover in [*out.glob(".*.tmp"), *(out / BEGUN).glob(".*.tmp")]:
                leftover.unlink()
            yield None
    except Timeout as error:
        hint = "wait for it, or choose another folder"
        raise ExciteError("another process writes shards here", where=out, hint=hint) from error


_ELSEWHERE = "choose another folder with --out, or remove this one"


def _name(number: int) -> str:
    return f"{number:06d}{SUFFIX}"


def _finished_shard(number: int, *, plan: _Plan, out: Path) -> WrittenShard:
    """Write a shard unless an earlier command has; its size, hash, and members (row, offset, size, hash)."""
    path, note = out / _name(number), out / BEGUN / f"{number:06d}.json"
    try:
        part = json.loads(note.read_text(encoding="utf-8"))
        if path.stat().st_size == part["size"]:
            return part
    except (OSError, ValueError):
        pass
    with _writing(path):
        part = write_tar(path, plan.rows[number].tolist(), plan.files, plan.sizes, plan.targets)
    write_text(note, json.dumps(part))
    return part


def _index(manifest: Manifest, parts: Sequence[WrittenShard]) -> bytes:
    """``index.csv``: a row per image, in the order of the manifest."""
    places: list[tuple[str, int, int, str]] = [("", 0, 0, "")] * len(manifest)
    for number, part in enumerate(parts):
        for row, offset, size, sha256 in part["members"]:
            places[row] = (_name(number), offset, size, sha256)
    table = manifest.table
    taken = {*COLUMNS, *(SHARD_COLUMNS if manifest.sharded else ())}
    further = [name for name in table.columns if name not in taken]
    header = [f"{name}_original" if name in SHARD_COLUMNS else name for name in further]
    text = io.StringIO(newline="")
    writer = csv.writer(text)  # with the line ends of RFC 4180, which quote a stray carriage return in a name
    writer.writerow([*INDEX_COLUMNS, *header])
    own = table[["label", "group", "split", "photo"]].itertuples(index=False)
    more = table[further].itertuples(index=False)
    for place, facts, name, rest in zip(places, own, _names(manifest), more, strict=True):
        writer.writerow([*place, *facts, name, *rest])
    return text.getvalue().encode()


def _names(manifest: Manifest) -> list[str]:
    """The name of each image below the folder that all of them are in."""
    paths = manifest.table["path"].tolist()
    if manifest.sharded:
        shards = manifest.table["shard"].tolist()
        return [path[len(shard) + 1 :] if shard else path for path, shard in zip(paths, shards, strict=True)]
    root = os.path.commonpath({os.path.dirname(path) for path in paths})  # noqa: PTH120 (text)
    return [os.path.relpath(path, root).replace(os.sep, "/") for path in paths]


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in one line why a shard cannot be written; what is finished stays."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else (error.strerror or str(error)).lower()
        hint = "free some space, then run it again: finished shards are kept" if full else None
        raise ExciteError(f"cannot be written: {reason}", where=path, hint=hint) from error
