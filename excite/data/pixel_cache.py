"""Decode and resize every image once, into one array on disk that is mapped into memory."""

from __future__ import annotations

import errno
import hashlib
import shutil
import time
from collections.abc import Generator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import numpy as np
import PIL

from excite.data.decoding import decode_and_hash
from excite.data.manifest import Manifest
from excite.data.preprocessing import Preprocessing
from excite.errors import ExciteError
from excite.system.cache import name_owner
from excite.system.files import replacing
from excite.system.parallel import Progress, in_threads

_VERSION = 1
_STALE_SECONDS = 24 * 3600
_BATCH_BYTES = 64 * 2**20
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
    if not len(manifest) or "" in set(manifest.table["sha256"]):
        raise ExciteError("only checked images can be decoded into the cache", hint="call check_files first")
    shape = (len(manifest), preprocessing.image_size, preprocessing.image_size, 3)
    path = cache / "pixels" / f"{pixels_key(manifest, preprocessing)}.npy"
    name_owner(path, manifest.table["path"])  # before it is written: an interrupted build has an owner, too
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
    for sha256 in manifest.table["sha256"]:
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
    needed = int(np.prod(shape))
    _remove_stale(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < needed:
            raise OSError(errno.ENOSPC, "no space left on device")
        # Not through a memory map, which ends the process with SIGBUS on a full disk.
        with replacing(path) as file, closing(_rows(manifest, preprocessing, progress)) as rows:
            layout = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, layout)
            for row in rows:
                file.write(row.tobytes())
    except OSError as error:
        hint = "free some space, or set EXCITE_CACHE to a folder on another disk"
        reason = "the disk is full" if error.errno in _FULL else (error.strerror or str(error)).lower()
        what = f"the decoded images need {needed:,} bytes, which cannot be written: {reason}"
        raise ExciteError(what, where=path.parent, hint=hint) from error


def _rows(
    manifest: Manifest, preprocessing: Preprocessing, progress: Progress | None
) -> Generator[np.ndarray, None, None]:
    table = manifest.table
    files = list(zip(table["path"], table["sha256"], table["width"] * table["height"], strict=True))
    batch = max(16, _BATCH_BYTES // (preprocessing.image_size**2 * 3))
    return in_threads(partial(_row, preprocessing=preprocessing), files, batch=batch, progress=progress)


def _row(file: tuple[str, str, int], *, preprocessing: Preprocessing) -> np.ndarray:
    path, expected, size = file
    # An image that is larger than at the check has changed.
    image, sha256 = decode_and_hash(path, max_pixels=size, intensity_range=preprocessing.intensity_range)
    if sha256 != expected:
        raise ExciteError("has changed since it was checked", where=path, hint="run the command again")
    return preprocessing.pixels(image)


def _remove_stale(folder: Path) -> None:
    """Remove the files of killed builds; a build in progress has written within the last day."""
    for leftover in folder.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                leftover.unlink()
