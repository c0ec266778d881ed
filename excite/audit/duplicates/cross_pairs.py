"""Near-duplicates between two sets of images, known and new ones.

The fingerprints of the known images are cached, so that another set costs only the fingerprints of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from excite.audit.duplicates.aligned_copies import aligned_copy_pairs
from excite.audit.duplicates.find import StageProgress, format_pairs, pairs_key, parse_pairs
from excite.audit.duplicates.fingerprints import SMALLEST, Fingerprint, cached_fingerprints, versions
from excite.audit.duplicates.pair import Pair
from excite.audit.duplicates.same_picture import BLANK_CONFIDENCE, near_pairs
from excite.config.pixel_limit import MAX_PIXELS
from excite.data.intensity import IntensityRange
from excite.data.manifest import Manifest
from excite.system.cache import name_owner, recall, remember
from excite.system.files import replacing

if TYPE_CHECKING:
    from excite.audit.duplicates.local_features import Features
    from excite.audit.duplicates.photo_candidates import Vocabulary

_VERSION = 1


@dataclass(frozen=True)
class CrossPairs:
    """Pairs of a known and a new image.

    Args:
        pairs: ``a`` is a row of the known images, ``b`` a row of the new ones.
        missing: number of known files that are missing or have changed; only their hashes were compared.
    """

    pairs: tuple[Pair, ...]
    missing: int


def find_cross_pairs(
    known: Manifest,
    images: Manifest,
    *,
    near_duplicates: bool = True,
    max_pixels: int = MAX_PIXELS,
    cache: Path | None = None,
    progress: StageProgress | None = None,
) -> CrossPairs:
    """Pairs of a known and a new image that show the same photo, ordered by row of the new image.

    Args:
        known: checked images; their files are read only if the cache has no fingerprint of them.
        images: checked images; one that is identical to a known image is in that pair only.
        near_duplicates: search for the same photo too (pass 3), not only for the same picture (pass 2).
        cache: folder that remembers fingerprints and pairs.
        progress: called with the name of a stage; returns the callback for (done, total).
    """
    progress = progress or (lambda stage: None)
    split = len(known)
    sha256s = [*known.table["sha256"], *images.table["sha256"]]
    memory = (
        None
        if cache is None
        else cache
        / "duplicates"
        / f"{pairs_key(sha256s, near_duplicates, images.intensity_range, split)}.json"
    )
    pairs, missing = recall(memory, partial(parse_pairs, n=len(sha256s))), 0
    if pairs is None:
        search = _Search(known, images, near_duplicates, max_pixels, cache, progress)
        pairs, missing = search.pairs(), search.missing
        if not missing:  # otherwise the missing files may be back next time
            for manifest in (known, images):
                name_owner(memory, manifest.table["path"])
            remember(memory, format_pairs(pairs))
    return CrossPairs(tuple(replace(pair, b=pair.b - split) for pair in pairs), missing)


class _Search:
    """Both sets in one table, the known images first."""

    def __init__(
        self,
        known: Manifest,
        images: Manifest,
        near_duplicates: bool,
        max_pixels: int,
        cache: Path | None,
        progress: StageProgress,
    ) -> None:
        self._split, self._near_duplicates, self._cache, self._progress = (
            len(known),
            near_duplicates,
            cache,
            progress,
        )
        self._table = pd.concat([known.table, images.table], ignore_index=True)
        self._known_photos, self._range = known.photo_codes(), known.intensity_range

        def fingerprints(manifest: Manifest, stage: str) -> list[Fingerprint | None]:
            return cached_fingerprints(
                manifest,
                near_duplicates=near_duplicates,
                max_pixels=max_pixels,
                cache=cache,
                progress=progress(stage),
            )

        self._fingerprints = fingerprints(known, "reading training images") + fingerprints(
            images, "reading images"
        )
        self.missing = sum(fingerprint is None for fingerprint in self._fingerprints[: self._split])

    def pairs(self) -> list[Pair]:
        same = self._identical()
        rows = self._distinct({pair.b for pair in same})
        fingerprints = [fingerprint for row in rows if (fingerprint := self._fingerprints[row]) is not None]
        known = sum(row < self._split for row in rows)
        pairs = [] if known in (0, len(rows)) else self._similar(fingerprints, rows, known)
        named = [replace(pair, a=rows[pair.a], b=rows[pair.b]) for pair in pairs]
        return sorted(same + named, key=lambda pair: (pair.b, -pair.confidence, pair.a))

    def _identical(self) -> list[Pair]:
        """Each new image with the first known image of the same file, else of the same pixels."""
        files: dict[str, int] = {}
        pixels: dict[bytes, int] = {}
        pairs = []
        for row, (sha256, fingerprint) in enumerate(
            zip(self._table["sha256"], self._fingerprints, strict=True)
        ):
            content = b"" if fingerprint is None else fingerprint.thumbnail.pixels_hash
            if row < self._split:
                files.setdefault(sha256, row)
                pixels.setdefault(content, row)
            elif sha256 in files:
                pairs.append(Pair(files[sha256], row, "identical file", "same SHA-256", 1.0))
            elif fingerprint is not None and content in pixels:
                blank = fingerprint.thumbnail.blank
                evidence = "every pixel equal after decoding" + (", but blank" if blank else "")
                confidence = BLANK_CONFIDENCE if blank else 1.0
                pairs.append(Pair(pixels[content], row, "identical pixels", evidence, confidence))
        return pairs

    def _distinct(self, identical: set[int]) -> list[int]:
        """Rows to compare: large enough, each known image once, no identical copy of a known image."""
        short = self._table[["width", "height"]].min(axis=1).to_numpy()
        seen: set[bytes] = set()
        rows = []
        for row, fingerprint in enumerate(self._fingerprints):
            if fingerprint is None or short[row] < SMALLEST or row in identical:
                continue
            if row >= self._split or fingerprint.thumbnail.pixels_hash not in seen:
                rows.append(row)
            seen.add(fingerprint.thumbnail.pixels_hash)
        return rows

    def _similar(self, fingerprints: Sequence[Fingerprint], rows: Sequence[int], known: int) -> list[Pair]:
        """Pairs of the first ``known`` images with the others; no two have identical pixels."""
        thumbnails = [fingerprint.thumbnail for fingerprint in fingerprints]
        pairs = near_pairs(thumbnails, range(len(fingerprints)), known)
        small = [place for place, one in enumerate(thumbnails) if not (one.blank or one.fine)]
        stage = self._progress("comparing thumbnails")
        pairs += _further(aligned_copy_pairs(thumbnails, small, stage, known), pairs)
        features = [fingerprint.features for fingerprint in fingerprints if fingerprint.features is not None]
        if self._near_duplicates:
            pairs += _further(self._same_photo(features, rows[:known], pairs), pairs)
        return pairs

    def _same_photo(
        self, features: Sequence[Features], known_rows: Sequence[int], near: Sequence[Pair]
    ) -> list[Pair]:
        from excite.audit.duplicates.photo_candidates import describe
        from excite.audit.duplicates.same_photo import SURE_CONFIDENCE, one_thread_each, photo_pairs

        known = len(known_rows)
        with one_thread_each():
            vocabulary, described = self._described_known(known_rows, features[:known])
            straight = np.concatenate([described, describe(features[known:], vocabulary)])
            flipped = np.zeros_like(straight)  # only of new images: one side of a pair is enough
            flipped[known:] = describe(features[known:], vocabulary, mirror=True)
        sure = [(pair.a, pair.b) for pair in near if pair.confidence >= SURE_CONFIDENCE]
        sure += _chained(self._known_photos[list(known_rows)])
        stage = self._progress("comparing photos")
        return photo_pairs(features, sure, stage, described=(straight, flipped), across=known)

    def _described_known(
        self, rows: Sequence[int], features: Sequence[Features]
    ) -> tuple[Vocabulary, np.ndarray]:
        """The vocabulary of the known images and their descriptions, cached by their content."""
        from excite.audit.duplicates.photo_candidates import Vocabulary, describe, learn_vocabulary

        sha256s = self._table["sha256"].iloc[list(rows)].tolist()
        memory = (
            None
            if self._cache is None
            else self._cache / "duplicates" / f"{_described_key(sha256s, self._range)}.npz"
        )
        name_owner(memory, self._table["path"].iloc[: self._split])
        if memory is not None:
            with suppress(OSError, ValueError, KeyError, BadZipFile):
                with np.load(memory, allow_pickle=False) as held:
                    vocabulary = Vocabulary(held["words"], held["mean"], held["matrix"])
                    described = held["described"]
                if described.shape == (len(rows), vocabulary.matrix.shape[1]):
                    return vocabulary, described
        vocabulary = learn_vocabulary(features)
        described = describe(features, vocabulary)
        if memory is not None:
            with suppress(OSError), replacing(memory) as file:
                np.savez(file, described=described, **vars(vocabulary))
        return vocabulary, described


def _described_key(sha256s: Sequence[str], intensity_range: IntensityRange | None) -> str:
    kept_by = versions(True, intensity_range)
    return hashlib.sha256(f"{_VERSION} {kept_by} {' '.join(sha256s)}".encode()).hexdigest()


def _chained(codes: np.ndarray) -> list[tuple[int, int]]:
    """Each index, paired with the previous one that has the same code."""
    last: dict[int, int] = {}
    pairs = []
    for place, code in enumerate(codes.tolist()):
        if code in last:
            pairs.append((last[code], place))
        last[code] = place
    return pairs


def _further(pairs: Sequence[Pair], earlier: Sequence[Pair]) -> list[Pair]:
    """The pairs that are not among the earlier ones."""
    known = {(pair.a, pair.b) for pair in earlier}
    return [pair for pair in pairs if (pair.a, pair.b) not in known]
