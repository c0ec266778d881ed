"""Near-duplicates in a data set: passes 2 and 3 of the audit, cached by the content of the images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from excite.audit.duplicates.aligned_copies import aligned_copy_pairs
from excite.audit.duplicates.fingerprints import (
    SMALLEST,
    compute_fingerprints,
    compute_thumbnails,
    versions,
)
from excite.audit.duplicates.grouping import Grouping as Grouping
from excite.audit.duplicates.grouping import group_images as group_images
from excite.audit.duplicates.pair import KINDS, Pair
from excite.audit.duplicates.same_picture import identical_pairs, near_pairs
from excite.audit.duplicates.thumbnails import Thumbnail
from excite.config.pixel_limit import MAX_PIXELS
from excite.data.intensity import IntensityRange
from excite.data.manifest import Manifest
from excite.errors import ExciteError
from excite.system.cache import name_owner
from excite.system.parallel import Progress
from excite.system.shared_work import SharedPart, compute_together

if TYPE_CHECKING:
    from excite.audit.duplicates.local_features import Features

_VERSION = 4

StageProgress = Callable[[str], Progress | None]


def find_pairs(
    manifest: Manifest,
    *,
    near_duplicates: bool = True,
    max_pixels: int = MAX_PIXELS,
    cache: Path | None = None,
    progress: StageProgress | None = None,
) -> list[Pair]:
    """Pairs of images that show the same photo, the most certain kind first, then by row.

    Not every pair of a large group is returned, but enough pairs to connect it.

    Args:
        manifest: the checked images, as ``check_files`` returns them.
        near_duplicates: search for the same photo too (pass 3), not only for the same picture (pass 2).
        cache: folder that remembers the pairs until an image changes.
        progress: called with the name of a stage; returns the callback for (done, total).

    Raises:
        ExciteError: if the images are not checked, or a file has changed or vanished since.
    """
    sha256s = manifest.table["sha256"].tolist()
    if "" in sha256s:
        raise ExciteError(
            "only checked images can be searched for near-duplicates", hint="call check_files first"
        )
    key = pairs_key(sha256s, near_duplicates, manifest.intensity_range)
    memory = None if cache is None else cache / "duplicates" / f"{key}.json"
    name_owner(memory, manifest.table["path"].tolist())
    search = partial(_search, manifest, near_duplicates, max_pixels, progress or (lambda stage: None), cache)
    part = SharedPart(memory, search, format_pairs, partial(parse_pairs, n=len(manifest)))
    return compute_together([part])[0]


def _search(
    manifest: Manifest, near_duplicates: bool, max_pixels: int, progress: StageProgress, cache: Path | None
) -> list[Pair]:
    table = manifest.table
    thumbnails, features = _read(
        manifest,
        near_duplicates=near_duplicates,
        max_pixels=max_pixels,
        cache=cache,
        progress=progress("reading images"),
    )
    same = identical_pairs(table["sha256"].tolist(), thumbnails)
    repeated = {pair.b for pair in same}
    short = table[["width", "height"]].min(axis=1).to_numpy()
    distinct = [row for row in range(len(table)) if row not in repeated and short[row] >= SMALLEST]
    near = near_pairs(thumbnails, distinct)
    small = [row for row in distinct if not (thumbnails[row].blank or thumbnails[row].fine)]
    known = {(pair.a, pair.b) for pair in near}
    moved = aligned_copy_pairs(thumbnails, small, progress("comparing thumbnails") if small else None)
    near += [pair for pair in moved if (pair.a, pair.b) not in known]
    pairs = same + near
    if near_duplicates:
        from excite.audit.duplicates.same_photo import SURE_CONFIDENCE, photo_pairs

        number = {row: place for place, row in enumerate(distinct)}
        sure = [(number[pair.a], number[pair.b]) for pair in near if pair.confidence >= SURE_CONFIDENCE]
        some = [one for row in distinct if (one := features[row]) is not None]
        features.clear()
        seen = photo_pairs(some, sure, progress("comparing photos"))
        already = {(pair.a, pair.b) for pair in near}
        named = [replace(pair, a=distinct[pair.a], b=distinct[pair.b]) for pair in seen]
        pairs += [pair for pair in named if (pair.a, pair.b) not in already]
    return sorted(pairs, key=lambda pair: (KINDS.index(pair.kind), pair.a, pair.b))


def _read(
    manifest: Manifest,
    *,
    near_duplicates: bool,
    max_pixels: int,
    cache: Path | None,
    progress: Progress | None,
) -> tuple[Sequence[Thumbnail], list[Features | None]]:
    """The thumbnail of each image, and for pass 3 its local features."""
    if not near_duplicates:
        return compute_thumbnails(manifest, max_pixels=max_pixels, folder=cache, progress=progress), []
    fingerprints = compute_fingerprints(
        manifest, near_duplicates=True, max_pixels=max_pixels, progress=progress
    )
    return [one.thumbnail for one in fingerprints], [one.features for one in fingerprints]


def pairs_key(
    sha256s: Sequence[str], near_duplicates: bool, intensity_range: IntensityRange | None, across: int = 0
) -> str:
    """A hash of what pairs depend on: the images in order, versions, and the first row of the second set."""
    kept_by = versions(near_duplicates, intensity_range)
    digest = hashlib.sha256(f"{_VERSION} {kept_by} {across or ''}".rstrip().encode())
    for sha256 in sha256s:
        digest.update(bytes.fromhex(sha256))
    return digest.hexdigest()


def parse_pairs(text: str, *, n: int) -> list[Pair] | None:
    """The inverse of ``format_pairs``; None for pairs that are damaged or of other than ``n`` images."""
    pairs = [
        Pair(int(a), int(b), str(kind), str(evidence), float(confidence))
        for a, b, kind, evidence, confidence in json.loads(text)
    ]
    whole = all(0 <= p.a < p.b < n and p.kind in KINDS and 0 <= p.confidence <= 1 for p in pairs)
    return pairs if whole else None


def format_pairs(pairs: Sequence[Pair]) -> str:
    """Pairs as JSON for the cache."""
    return json.dumps([astuple(pair) for pair in pairs])
