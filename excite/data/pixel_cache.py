"""Decode and resize every image once, into one array on disk that is mapped into memory."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import PIL

from excite.data.decoding import decode_and_hash
from excite.data.manifest import Manifest
from excite.data.preprocessing import Preprocessing
from excite.data.stored_image import StoredImage
from excite.errors import ExciteError
from excite.system.cache import name_owner
from excite.system.files import sync_folder
from excite.system.parallel import Progress, after, in_threads
from excite.system.shared_work import locked

CACHED_UP_TO = 32 * 2**30
"""Bytes of decoded images up to which they are kept on disk; more are decoded whenever they are needed."""

_VERSION = 1
_STALE_SECONDS = 24 * 3600
_BATCH_BYTES = 64 * 2**20  # decoded images in memory
_CHUNK_BYTES = 256 * 2**20  # decoded images that one process writes at a time
_FULL = (errno.ENOSPC, errno.EDQUOT)


def cached_pixels(
    manifest: Manifest, preprocessing: Preprocessing, cache: Path, progress: Progress | None = None
) -> np.ndarray:
    """The pixels of every row, (N, S, S, 3) uint8, read-only and mapped from a file in the cache.

    The name of the file is a hash of the images' own hashes in order and of the resizing, so that another
    order, another size, or a changed image is another file. A damaged file is rebuilt.

    Args:
        manifest: the checked images, as ``check_files`` returns them.
        progress: called with (images done, total images).

    Raises:
        ExciteError: if an image has changed since it was checked, or the disk is full.
    """
    if not len(manifest) or (manifest.table["sha256"] == "").any():
        raise ExciteError("only checked images can be decoded into the cache", hint="call check_files first")
    shape = (len(manifest), preprocessing.image_size, preprocessing.image_size, 3)
    path = cache / "pixels" / f"{pixels_key(manifest, preprocessing)}.npy"
    name_owner(
        path, manifest.table["path"].tolist()
    )  # before it is written: an interrupted build has an owner, too
    pixels = _mapped(path, shape)
    if pixels is None:
        _build(path, shape, manifest, preprocessing, progress)
        pixels = _mapped(path, shape)
    if pixels is None:
        raise ExciteError(
            "the decoded images cannot be read back",
            where=path,
            hint="check the disk, or set EXCITE_CACHE to a folder on another one",
        )
    return pixels


def pixels_key(manifest: Manifest, preprocessing: Preprocessing) -> str:
    """A hash of everything that decoded pixels depend on: the images in order, and the resizing."""
    # Another version of Pillow may round pixels differently.
    digest = hashlib.sha256(f"{_VERSION} {PIL.__version__} {preprocessing.geometry}".encode())
    for sha256 in manifest.table["sha256"].tolist():
        digest.update(bytes.fromhex(sha256))
    return digest.hexdigest()


def _mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        pixels = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):  # missing, truncated, or another format
        return None
    return pixels if pixels.shape == shape and pixels.dtype == np.uint8 else None


def _build(
    path: Path,
    shape: tuple[int, ...],
    manifest: Manifest,
    preprocessing: Preprocessing,
    progress: Progress | None,
) -> None:
    """Write the file. Several processes decode a part each; what is decoded stays if one is killed."""
    needed = int(np.prod(shape))
    _remove_stale(path.parent)
    partial_file = path.with_name(f".{path.name}.partial")
    files = _files(manifest)
    chunk = max(16, _CHUNK_BYTES // (preprocessing.image_size**2 * 3))
    starts = range(0, len(files), chunk)
    markers = [path.with_name(f".{path.name}.{number}.done") for number in range(len(starts))]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        start = _begin(path, partial_file, shape, markers)
        # First the parts that are free, then those that others have not finished.
        for waits, (first, marker) in product((False, True), zip(starts, markers, strict=True)):
            with locked(marker, waits=waits) as is_mine:
                if not is_mine or marker.exists() or _mapped(path, shape) is not None:
                    continue
                part, shown = files[first : first + chunk], after(first, len(files), progress)
                place = start + first * needed // len(files)
                _write_rows(partial_file, place, part, preprocessing, shown)
                marker.touch()
        with locked(partial_file):
            if _mapped(path, shape) is None:
                partial_file.replace(path)
                sync_folder(path.parent)
            for marker in markers:
                marker.unlink(missing_ok=True)
    except ExciteError:
        _discard(partial_file, markers)
        raise
    except OSError as error:
        _discard(partial_file, markers)
        hint = "free some space, or set EXCITE_CACHE to a folder on another disk"
        reason = "the disk is full" if error.errno in _FULL else (error.strerror or str(error)).lower()
        what = f"the decoded images need {needed:,} bytes, which cannot be written: {reason}"
        raise ExciteError(what, where=path.parent, hint=hint) from error


def _discard(partial_file: Path, markers: Sequence[Path]) -> None:
    """Remove what cannot be completed; a killed process leaves it for the next command."""
    for file in (partial_file, *markers):
        with suppress(OSError):
            file.unlink(missing_ok=True)


def _begin(path: Path, partial_file: Path, shape: tuple[int, ...], markers: Sequence[Path]) -> int:
    """Make the file that is filled, unless another process or an earlier command has; the size of its header.

    Raises:
        OSError: if the disk has no room for it.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    start = len(header.getvalue())
    size = start + int(np.prod(shape))
    with locked(partial_file):
        is_begun = partial_file.exists() and partial_file.stat().st_size == size
        if not is_begun and _mapped(path, shape) is None:
            for marker in markers:
                marker.unlink(missing_ok=True)
            if shutil.disk_usage(partial_file.parent).free < size:
                raise OSError(errno.ENOSPC, "no space left on device")
            with partial_file.open("wb") as file:
                file.write(header.getvalue())
                file.truncate(size)
    return start


def _write_rows(
    partial_file: Path,
    offset: int,
    files: Sequence[tuple[StoredImage, str, int]],
    preprocessing: Preprocessing,
    progress: Progress | None,
) -> None:
    batch = max(16, _BATCH_BYTES // (preprocessing.image_size**2 * 3))
    # Not through a memory map, which ends the process with SIGBUS on a full disk.
    with (
        partial_file.open("r+b") as file,
        closing(
            in_threads(
                partial(decode_row, preprocessing=preprocessing), files, batch=batch, progress=progress
            )
        ) as rows,
    ):
        file.seek(offset)
        for row in rows:
            file.write(row.tobytes())
        file.flush()
        os.fsync(file.fileno())


def _files(manifest: Manifest) -> list[tuple[StoredImage, str, int]]:
    table = manifest.table
    return list(zip(manifest.files(), table["sha256"], table["width"] * table["height"], strict=True))


def decode_row(file: tuple[StoredImage, str, int], *, preprocessing: Preprocessing) -> np.ndarray:
    """The pixels of one image, (S, S, 3) uint8.

    Args:
        file: where it is, the hash that it must have, and its size in pixels.

    Raises:
        ExciteError: if the image has changed since it was checked.
    """
    place, expected, size = file
    # An image that is larger than at the check has changed.
    image, sha256 = decode_and_hash(place, max_pixels=size, intensity_range=preprocessing.intensity_range)
    if sha256 != expected:
        raise ExciteError("has changed since it was checked", where=place.path, hint="run the command again")
    return preprocessing.pixels(image)


def _remove_stale(folder: Path) -> None:
    """Remove the files of killed builds; a build in progress has written within the last day."""
    for pattern in (".*.partial", ".*.done", ".*.lock"):
        for leftover in folder.glob(pattern):
            with suppress(OSError):
                if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                    leftover.unlink()
