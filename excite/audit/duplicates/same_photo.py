"""Pass 3: pictures that show the same photo, cropped, rotated, recolored, mirrored, or with noise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from excite.audit.duplicates.chance_similarity import MIN_IMAGES, QUANTILE, sample_background_pairs
from excite.audit.duplicates.grouping import UnionFind
from excite.audit.duplicates.local_features import Features
from excite.audit.duplicates.nearest_neighbors import nearest
from excite.audit.duplicates.pair import Pair
from excite.audit.duplicates.photo_candidates import Candidate, candidates, descriptions
from excite.audit.duplicates.photo_matching import Overlay, overlay
from excite.system.parallel import Progress, in_threads

NEIGHBORS = 20
"""Number of candidates per picture, mirrored or not. Twice as many take twice the time and completed the
groups of 2 more of the 153 mpox photos, before the second search was widened."""
CORRELATION, NOISY_CORRELATION = 0.65, 0.4
"""Smallest correlation of the pixels; the lower one if either picture has strong noise. Over 47,497 pairs of
different patients of the mpox set, the largest was 0.21. The margin above it is for pictures of one kind:
simulated scans of two patients with half of their anatomy in common reach 0.61."""
MARGIN, NOISY_MARGIN = 0.35, 0.175
"""By how much the Fisher z of the correlation must exceed that of background pairs."""
AGREEING = 8
AGREEING_TILES = 0.4
"""Smallest fraction of the overlap that agrees: a shared caption, ruler, or frame does not make a pair."""
OVERLAP = 0.1
"""Smallest fraction of the smaller photo in the overlap: crops that share only a corner are not a pair."""
SURE = 6.0
"""Bits of evidence from which on pairs inside a group are not compared again."""

SURE_CONFIDENCE = 1 - 2**-SURE

_WIDER = 400  # neighbors in the second search
_GROUPS, _MEMBERS = 32, 12  # groups that a picture is compared with, and members of each
_SECOND_PAIRS = 2  # comparisons in the second search per picture, at most, on average
_SMALL_GROUP = 3  # largest group whose pictures are in the second search
_BATCH = 4096


def photo_pairs(
    features: Sequence[Features],
    known: Iterable[tuple[int, int]] = (),
    progress: Progress | None = None,
    *,
    described: tuple[np.ndarray, np.ndarray] | None = None,
    across: int = 0,
) -> list[Pair]:
    """Pairs of pictures that show one photo.

    Args:
        features: those of each picture.
        known: pairs that certainly show one picture; they are not compared again.
        progress: called with (pairs compared, pairs to compare); the second number may grow.
        described: the result of ``descriptions`` for the features, if it is known.
        across: unless 0, only pairs of a picture before this one and a picture from it on are searched.
    """
    with one_thread_each():
        sure = UnionFind(len(features))
        for a, b in known:
            sure.join(a, b)
        straight, flipped = described or descriptions(features)
        known_only = straight[:across] if across >= MIN_IMAGES else straight
        background = _background_correlation(features, known_only)
        found: dict[tuple[int, int], Overlay] = {}
        first = candidates(straight, flipped, NEIGHBORS, across)
        _compare(features, first, sure, found, background, thorough=False, progress=progress)
        second = _second_candidates(straight, flipped, sure, across)
        _compare(features, second, sure, found, background, thorough=True, progress=progress)
    return [
        Pair(a, b, "same photo", evidence(aligned), 1 - 2 ** -evidence_bits(aligned, background))
        for (a, b), aligned in sorted(found.items())
    ]


def evidence_bits(aligned: Overlay, background: float = 0.0) -> float:
    """Evidence for one photo in bits, 0 to 10, from correlation, agreeing features, and agreeing tiles.

    At the smallest accepted correlation, 16 agreeing features are 2 bits, with which one picture may join a
    group.

    Args:
        background: the correlation that background pairs of this data set reach.
    """
    floor, margin = (NOISY_CORRELATION, NOISY_MARGIN) if aligned.noisy else (CORRELATION, MARGIN)
    least = max(floor, float(np.tanh(np.arctanh(background) + margin)))
    if aligned.correlation < least or aligned.agreeing < AGREEING:
        return 0.0
    if aligned.agreeing_tiles < AGREEING_TILES or aligned.overlap < OVERLAP:
        return 0.0
    pixels = 2 + 3 * (aligned.correlation - least) / (1 - least)
    return min(10.0, pixels * min(2.0, aligned.agreeing / 16) * min(1.0, aligned.agreeing_tiles / 0.6))


def evidence(aligned: Overlay) -> str:
    """A few words with numbers for the table of pairs."""
    words = f"{aligned.agreeing} of {aligned.expected} features agree, "
    words += f"pixels correlate {aligned.correlation:.2f}"
    return words + (", mirrored" if aligned.mirror else "")


def _background_correlation(features: Sequence[Features], straight: np.ndarray) -> float:
    """Correlation of background pairs: near zero for photos, high for images of one kind, such as scans."""
    ends = list(zip(*sample_background_pairs(straight), strict=True))
    aligned = in_threads(lambda pair: overlay(features[pair[0]], features[pair[1]], mirror=False), ends)
    correlations = [max(0.0, one.correlation) for one in aligned]
    return min(float(np.quantile(correlations, QUANTILE)), 0.999) if correlations else 0.0


def _compare(
    features: Sequence[Features],
    pairs: Sequence[Candidate],
    sure: UnionFind,
    found: dict[tuple[int, int], Overlay],
    background: float,
    *,
    thorough: bool,
    progress: Progress | None,
) -> None:
    """Compare the pairs, the most similar first; pairs that an earlier batch has joined are skipped."""

    def lay(candidate: Candidate) -> Overlay:
        _, a, b, mirror = candidate
        return overlay(features[a], features[b], mirror=mirror, thorough=thorough)

    done = 0
    for start in range(0, len(pairs), _BATCH):
        batch = pairs[start : start + _BATCH]
        open_ = [item for item in batch if sure.find(item[1]) != sure.find(item[2])]
        for (_, a, b, _), aligned in zip(open_, in_threads(lay, open_), strict=True):
            value = evidence_bits(aligned, background)
            if value > 0 and ((a, b) not in found or value > evidence_bits(found[a, b], background)):
                found[a, b] = aligned
            if value >= SURE:
                sure.join(a, b)
        done += len(batch)
        if progress is not None:
            progress(done, len(pairs))


def _second_candidates(
    straight: np.ndarray, flipped: np.ndarray, sure: UnionFind, across: int = 0
) -> list[Candidate]:
    """Pairs of pictures in small groups with the most similar members of the most similar groups."""
    n = len(straight)
    most = 1 if across else _SMALL_GROUP
    ungrouped = np.array([row for row in range(across, n) if sure.size(row) <= most], dtype=np.int64)
    if len(ungrouped) in (0, n):
        return []
    vectors = straight[:across] if across else straight
    near: dict[int, dict[int, list[tuple[float, int, bool]]]] = defaultdict(lambda: defaultdict(list))
    for mirror, queries in ((False, straight), (True, flipped)):
        rows, similarity = nearest(vectors, queries[ungrouped], _WIDER)
        for row, others, how in zip(ungrouped.tolist(), rows.tolist(), similarity.tolist(), strict=True):
            for other, value in zip(others, how, strict=True):
                grouped = value > 0 and sure.size(other) > 1 and sure.find(other) != sure.find(row)
                if grouped:
                    near[row][sure.find(other)].append((value, other, mirror))
    pairs: set[Candidate] = set()
    for row, groups in near.items():
        for group in sorted(groups, key=lambda g: -max(groups[g])[0])[:_GROUPS]:
            for value, other, mirror in sorted(groups[group], reverse=True)[:_MEMBERS]:
                pairs.add((value, min(row, other), max(row, other), mirror))
    return sorted(pairs, key=lambda item: (-item[0], *item[1:]))[: _SECOND_PAIRS * (n - across)]


@contextmanager
def one_thread_each() -> Generator[None, None, None]:
    """Keep OpenCV and BLAS from starting threads of their own inside excite's threads."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        cv2.setNumThreads(before)
