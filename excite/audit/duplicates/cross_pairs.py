"""Which new pictures show a photo that is among known ones: pairs across two sets, and none within either.

What passes 2 and 3 keep of the known pictures is remembered, so each further set costs a look at its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from excite.audit.duplicates.aligned_copies import aligned_copy_pairs
from excite.audit.duplicates.find import StageProgress, key_of, recalled, remember
from excite.audit.duplicates.fingerprints import SMALLEST, Fingerprint, cached_fingerprints, versions
from excite.audit.duplicates.pair import Pair
from excite.audit.duplicates.same_picture import BLANK_CONFIDENCE, near_pairs
from excite.config.pixel_limit import MAX_PIXELS
from excite.data.intensity import IntensityRange
from excite.data.manifest import Manifest
from excite.system.files import replacing

if TYPE_CHECKING:
    from excite.audit.duplicates.local_features import Features
    from excite.audit.duplicates.photo_candidates import Vocabulary

_VERSION = 1


@dataclass(frozen=True)
class CrossPairs:
    """Pairs of a known and a new picture.

    Args:
        pairs: ``a`` is a row of the known ones, ``b`` one of the new ones.
        missing: known files that are gone or have changed; only their content was compared.
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
    """Pairs of a known and a new picture that show one photo, by row of the new one.

    Args:
        known: checked images; their files are read only where the cache holds no look at them.
        images: checked images. One that is identical with a known one is in that pair alone.
        near_duplicates: search for the same photo too (pass 3), not only for the same picture (pass 2).
        cache: remember fingerprints and pairs here.
        progress: called with the name of a stage, gives what to call with (done, in all).
    """
    progress = progress or (lambda stage: None)
    split = len(known)
    sha256s = [*known.table["sha256"], *images.table["sha256"]]
    memory = (
        None
        if cache is None
        else cache / "duplicates" / f"{key_of(sha256s, near_duplicates, images.intensity_range, split)}.json"
    )
    found, missing = recalled(memory, len(sha256s)), 0
    if found is None:
        search = _Search(known, images, near_duplicates, max_pixels, cache, progress)
        found, missing = search.pairs(), search.missing
        if not missing:  # else they may be back next time
            remember(memory, found)
    return CrossPairs(tuple(replace(pair, b=pair.b - split) for pair in found), missing)


class _Search:
    """Both sets in one table, the known pictures first."""

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

        self._fingerprints = fingerprints(known, "looking at training images") + fingerprints(
            images, "looking at images"
        )
        self.missing = sum(fingerprint is None for fingerprint in self._fingerprints[: self._split])

    def pairs(self) -> list[Pair]:
        same = self._identical()
        rows = self._distinct({pair.b for pair in same})
        fingerprints = [fingerprint for row in rows if (fingerprint := self._fingerprints[row]) is not None]
        known = sum(row < self._split for row in rows)
        found = [] if known in (0, len(rows)) else self._alike(fingerprints, rows, known)
        named = [replace(pair, a=rows[pair.a], b=rows[pair.b]) for pair in found]
        return sorted(same + named, key=lambda pair: (pair.b, -pair.confidence, pair.a))

    def _identical(self) -> list[Pair]:
        """Each new picture with the first known one of the same file, else of the same pixels."""
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
        """Rows that are worth comparing: large enough, each known picture once, no copy of a known one."""
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

    def _alike(self, fingerprints: Sequence[Fingerprint], rows: Sequence[int], known: int) -> list[Pair]:
        """Pairs of the first ``known`` images with the others; no two have identical pixels."""
        thumbnails = [fingerprint.thumbnail for fingerprint in fingerprints]
        found = near_pairs(thumbnails, range(len(fingerprints)), known)
        small = [place for place, one in enumerate(thumbnails) if not (one.blank or one.fine)]
        stage = self._progress("comparing small images")
        found += _further(aligned_copy_pairs(thumbnails, small, stage, known), found)
        features = [fingerprint.features for fingerprint in fingerprints if fingerprint.features is not None]
        if self._near_duplicates:
            found += _further(self._same_photo(features, rows[:known], found), found)
        return found

    def _same_photo(
        self, features: Sequence[Features], known_rows: Sequence[int], near: Sequence[Pair]
    ) -> list[Pair]:
        from excite.audit.duplicates.photo_candidates import describe
        from excite.audit.duplicates.same_photo import SURE_CONFIDENCE, one_thread_each, photo_pairs

        known = len(known_rows)
        with one_thread_each():
            vocabulary, described = self._described_known(known_rows, features[:known])
            straight = np.concatenate([described, describe(features[known:], vocabulary)])
            flipped = np.zeros_like(straight)  # of the new ones alone: one side of a pair is enough
            flipped[known:] = describe(features[known:], vocabulary, mirror=True)
        sure = [(pair.a, pair.b) for pair in near if pair.confidence >= SURE_CONFIDENCE]
        sure += _chained(self._known_photos[list(known_rows)])
        stage = self._progress("comparing photos")
        return photo_pairs(features, sure, stage, described=(straight, flipped), across=known)

    def _described_known(
        self, rows: Sequence[int], features: Sequence[Features]
    ) -> tuple[Vocabulary, np.ndarray]:
        """The vocabulary of the known pictures, and what they are in it; remembered by their content."""
        from excite.audit.duplicates.photo_candidates import Vocabulary, describe, learn_vocabulary

        sha256s = self._table["sha256"].iloc[list(rows)].tolist()
        memory = (
            None
            if self._cache is None
            else self._cache / "duplicates" / f"{_described_key(sha256s, self._range)}.npz"
        )
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
    """Each place and the one before it that has the same code."""
    last: dict[int, int] = {}
    pairs = []
    for place, code in enumerate(codes.tolist()):
        if code in last:
            pairs.append((last[code], place))
        last[code] = place
    return pairs


def _further(pairs: Sequence[Pair], found: Sequence[Pair]) -> list[Pair]:
    """The pairs that were not found before."""
    known = {(pair.a, pair.b) for pair in found}
    return [pair for pair in pairs if (pair.a, pair.b) not in known]
