"""Fingerprints of images for passes 2 and 3, cached by content, so that no image is decoded twice."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL

from excite.audit.duplicates.stored_thumbnails import StoredThumbnails
from excite.audit.duplicates.thumbnails import Thumbnail, thumbnail
from excite.data.decoding import decode_and_hash
from excite.data.intensity import IntensityRange, format_range
from excite.data.manifest import Manifest
from excite.data.stored_image import StoredImage
from excite.errors import ExciteError
from excite.system.parallel import Progress, in_threads

if TYPE_CHECKING:
    from excite.audit.duplicates.local_features import Features

SMALLEST = 24
"""Smallest short side in pixels for a comparison beyond identical pixels. At 8 pixels, handwritten zeros of
two people correlate like copies; the thresholds were chosen on the 32 pixels of CIFAR-10."""

IN_MEMORY = 100_000
"""Number of images up to which thumbnails are kept in memory, 1.5 to 5 kB each."""
FINGERPRINTS = "fingerprints.sqlite"  # in the cache folder
_VERSION = 1
_PAGE = 500  # rows per query; SQLite allows 999 parameters
_WAIT = 20.0  # seconds to wait while another process writes
_THUMBNAIL = struct.Struct("<16sB??")  # hash of the pixels, side, blank, whether features follow
_FEATURES = struct.Struct("<III?")  # points, height and width of the structure picture, noisy


@dataclass(frozen=True)
class Fingerprint:
    """The thumbnail of an image, and its local features if requested and if it is large enough."""

    thumbnail: Thumbnail
    features: Features | None


def versions(near_duplicates: bool, intensity_range: IntensityRange | None) -> str:
    """What a fingerprint depends on besides the file: its intensity range, and library versions."""
    text = f"{PIL.__version__} {np.__version__} {near_duplicates}"
    if intensity_range is not None:
        text += f" {format_range(intensity_range)}"
    if near_duplicates:
        import cv2

        text += f" {cv2.__version__}"
    return text


def compute_fingerprints(
    manifest: Manifest, *, near_duplicates: bool, max_pixels: int, progress: Progress | None = None
) -> list[Fingerprint]:
    """The fingerprint of every image of a checked manifest, in its order.

    Args:
        near_duplicates: extract local features too.

    Raises:
        ExciteError: if a file has changed or vanished since it was checked.
    """
    return list(_computed(manifest, near_duplicates, max_pixels, progress))


def compute_thumbnails(
    manifest: Manifest, *, max_pixels: int, folder: Path | None = None, progress: Progress | None = None
) -> Sequence[Thumbnail]:
    """The thumbnail of every image of a checked manifest, in its order; of many images, in a temporary file.

    Args:
        folder: of the temporary file; None: the one of the system.

    Raises:
        ExciteError: as ``compute_fingerprints``.
    """
    computed = (one.thumbnail for one in _computed(manifest, False, max_pixels, progress))
    if len(manifest) <= IN_MEMORY:
        return list(computed)
    return StoredThumbnails(computed, len(manifest), folder)


def _computed(
    manifest: Manifest, near_duplicates: bool, max_pixels: int, progress: Progress | None
) -> Iterator[Fingerprint]:
    fingerprint = partial(
        _fingerprint,
        near_duplicates=near_duplicates,
        max_pixels=max_pixels,
        intensity_range=manifest.intensity_range,
    )
    return in_threads(fingerprint, _files(manifest), progress=progress)


def cached_fingerprints(
    manifest: Manifest,
    *,
    near_duplicates: bool,
    max_pixels: int,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> list[Fingerprint | None]:
    """The fingerprint of every image; None for a file that has changed or vanished.

    Only images that the cache does not hold are read.

    Args:
        cache: folder of the fingerprints, about 60 kB each with local features.
        progress: called with (images read, images to read), if any must be read.
    """
    table = manifest.table
    store = (
        None
        if cache is None
        else _Store(cache / FINGERPRINTS, versions(near_duplicates, manifest.intensity_range))
    )
    known = {} if store is None else store.read(sorted(set(table["sha256"])))
    fresh = table[~table["sha256"].isin(known)].drop_duplicates("sha256")
    if len(fresh):
        range_ = manifest.intensity_range
        fingerprint = partial(
            _fingerprint_or_none,
            near_duplicates=near_duplicates,
            max_pixels=max_pixels,
            intensity_range=range_,
        )
        files = _files(Manifest(fresh, manifest.classes))
        computed = zip(fresh["sha256"], in_threads(fingerprint, files, progress=progress), strict=True)
        readable = {sha256: one for sha256, one in computed if one is not None}
        if store is not None:
            store.write(readable)
        known |= readable
    return [known.get(sha256) for sha256 in table["sha256"]]


def _files(manifest: Manifest) -> list[tuple[StoredImage, str, int, int]]:
    table = manifest.table
    return list(zip(manifest.files(), table["sha256"], table["width"], table["height"], strict=True))


def _fingerprint(
    file: tuple[StoredImage, str, int, int],
    *,
    near_duplicates: bool,
    max_pixels: int,
    intensity_range: IntensityRange | None,
) -> Fingerprint:
    place, expected, width, height = file
    # An image that passed the check with a higher limit passes here too.
    limit = max(width * height, max_pixels)
    image, sha256 = decode_and_hash(place, max_pixels=limit, intensity_range=intensity_range)
    if sha256 != expected:
        raise ExciteError("has changed since it was checked", where=place.path, hint="run the command again")
    if not near_duplicates or min(width, height) < SMALLEST:
        return Fingerprint(thumbnail(image), None)
    from excite.audit.duplicates.local_features import extract

    return Fingerprint(thumbnail(image), extract(image))


def _fingerprint_or_none(file: tuple[StoredImage, str, int, int], **options: Any) -> Fingerprint | None:
    try:
        return _fingerprint(file, **options)
    except ExciteError:
        return None


class _Store:
    """Fingerprints in one SQLite file; if it cannot be read or written, they are computed again."""

    def __init__(self, path: Path, versions: str) -> None:
        self._path = path
        self._prefix = f"{_VERSION} {versions} "

    def read(self, sha256s: Sequence[str]) -> dict[str, Fingerprint]:
        fingerprints: dict[str, Fingerprint] = {}
        if not self._path.is_file():
            return fingerprints
        with suppress(sqlite3.Error, OSError), closing(self._connected()) as database:
            for start in range(0, len(sha256s), _PAGE):
                keys = [self._prefix + sha256 for sha256 in sha256s[start : start + _PAGE]]
                marks = ", ".join("?" * len(keys))
                query = f"SELECT key, fingerprint FROM fingerprints WHERE key IN ({marks})"
                for key, content in database.execute(query, keys):
                    with suppress(struct.error, ValueError, TypeError):  # a damaged entry is computed again
                        fingerprints[key.removeprefix(self._prefix)] = _unpacked(content)
        return fingerprints

    def write(self, fingerprints: dict[str, Fingerprint]) -> None:
        rows = (
            (self._prefix + sha256, b"".join(_packed(fingerprint)))
            for sha256, fingerprint in fingerprints.items()
        )
        with suppress(sqlite3.Error, OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connected()) as database, database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS fingerprints (key TEXT PRIMARY KEY, fingerprint BLOB)"
                )
                database.executemany("INSERT OR REPLACE INTO fingerprints VALUES (?, ?)", rows)

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_WAIT)


def _packed(fingerprint: Fingerprint) -> Iterator[bytes]:
    one, features = fingerprint.thumbnail, fingerprint.features
    yield _THUMBNAIL.pack(one.pixels_hash, len(one.luma), one.blank, features is not None)
    yield one.luma.tobytes()
    yield one.outside.tobytes()
    if features is not None:
        yield _FEATURES.pack(len(features), *features.structure.shape, features.noisy)
        yield features.points.astype("<f4").tobytes()
        yield features.descriptors.tobytes()
        yield features.structure.tobytes()


def _unpacked(content: bytes) -> Fingerprint:
    """Raises: struct.error or ValueError for bytes that are not a fingerprint."""
    at = 0

    def header(layout: struct.Struct) -> tuple[Any, ...]:
        nonlocal at
        values = layout.unpack_from(content, at)
        at += layout.size
        return values

    def array(kind: str, *shape: int) -> np.ndarray:
        nonlocal at
        count = int(np.prod(shape))
        values = np.frombuffer(content, kind, count, at).reshape(shape)
        at += values.nbytes
        return values

    pixels_hash, side, blank, has_features = header(_THUMBNAIL)
    one = Thumbnail(pixels_hash, array("u1", side, side), array("u1", side, side // 8), blank)
    features = None
    if has_features:
        from excite.audit.duplicates.local_features import Features

        count, height, width, noisy = header(_FEATURES)
        points, descriptors = array("<f4", count, 2), array("u1", count, 128)
        features = Features(points, descriptors, array("i1", height, width), noisy)
    if at != len(content):
        raise ValueError("the fingerprint has trailing bytes")
    return Fingerprint(one, features)
