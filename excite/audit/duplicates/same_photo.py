"""Pass 3: which pictures show the same photo, cropped, turned, recolored, noisy or mirrored."""

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
"""Looked at for every picture, straight or mirrored. Twice as many take twice the time and made 2 more of the
153 mpox photos whole, before the second look was widened."""
CORRELATION, NOISY_CORRELATION = 0.65, 0.4
"""Of the pixels, at least; the lower one where either picture carries strong noise. Over 47,497 pairs of
different patients of the mpox set the largest was 0.21. The rest is room for pictures of one kind, set on
simulated scans: of two patients with half of their anatomy in common they reach 0.61."""
MARGIN, NOISY_MARGIN = 0.35, 0.175
"""Fisher's z by which pixels must agree better than those of background pairs."""
AGREEING = 8
SPREAD = 0.4
"""Share of the overlap that must agree: two pictures with one caption, ruler or frame stay apart."""
OVERLAP = 0.1
"""Share of the smaller photo that lies on the other: crops that meet in a corner only are left apart."""
SURE = 6.0
"""Bits of evidence above which pairs inside a group are not looked at again."""

SURE_CONFIDENCE = 1 - 2**-SURE

_WIDER = 400  # neighbors for the second look
_GROUPS, _MEMBERS = 32, 12  # groups that a lonely picture is held against, and members of each
_SECOND_LOOKS = 2  # for every picture of the set at most, on average
_LONELY = 3  # images in a group that still looks for more
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
        features: one a picture.
        known: pairs that are one picture for sure; they are not looked at again.
        progress: called with (pairs looked at, pairs in all); the number in all may grow.
        described: what ``descriptions`` gives of the features, where that is known.
        across: where it is not 0, pairs of a picture from there on with one before are looked for, and no
            others.
    """
    with one_thread_each():
        sure = UnionFind(len(features))
        for a, b in known:
            sure.join(a, b)
        straight, flipped = described or descriptions(features)
        usual = _usual_correlation(features, straight[:across] if across >= MIN_IMAGES else straight)
        found: dict[tuple[int, int], Overlay] = {}
        first = candidates(straight, flipped, NEIGHBORS, across)
        _look(features, first, sure, found, usual, thorough=False, progress=progress)
        second = _second_candidates(straight, flipped, sure, across)
        _look(features, second, sure, found, usual, thorough=True, progress=progress)
    return [
        Pair(a, b, "same photo", evidence(seen), 1 - 2 ** -strength(seen, usual))
        for (a, b), seen in sorted(found.items())
    ]


def strength(seen: Overlay, usual: float = 0.0) -> float:
    """Evidence in bits, 0 to 10: the product of how well the pixels agree, how many features, and where.

    At the threshold of correlation 16 features that agree are 2 bits: one picture may join a group.

    Args:
        usual: the correlation that background pairs of this data set reach.
    """
    floor, margin = (NOISY_CORRELATION, NOISY_MARGIN) if seen.noisy else (CORRELATION, MARGIN)
    least = max(floor, float(np.tanh(np.arctanh(usual) + margin)))
    if seen.correlation < least or seen.agreeing < AGREEING or seen.spread < SPREAD or seen.overlap < OVERLAP:
        return 0.0
    pixels = 2 + 3 * (seen.correlation - least) / (1 - least)
    return min(10.0, pixels * min(2.0, seen.agreeing / 16) * min(1.0, seen.spread / 0.6))


def evidence(seen: Overlay) -> str:
    """In a few words with figures."""
    words = f"{seen.agreeing} of {seen.expected} features agree, pixels correlate {seen.correlation:.2f}"
    return words + (", mirrored" if seen.mirror else "")


def _usual_correlation(features: Sequence[Features], straight: np.ndarray) -> float:
    """The agreement of unrelated images: near zero for photos, high for images of one kind, such as scans."""
    ends = list(zip(*sample_background_pairs(straight), strict=True))
    seen = in_threads(lambda pair: overlay(features[pair[0]], features[pair[1]], mirror=False), ends)
    correlations = [max(0.0, one.correlation) for one in seen]
    return min(float(np.quantile(correlations, QUANTILE)), 0.999) if correlations else 0.0


def _look(
    features: Sequence[Features],
    wanted: Sequence[Candidate],
    sure: UnionFind,
    found: dict[tuple[int, int], Overlay],
    usual: float,
    *,
    thorough: bool,
    progress: Progress | None,
) -> None:
    """Overlay the wanted pairs, likeliest first; what was found in a batch spares work in the next."""

    def lay(candidate: Candidate) -> Overlay:
        _, a, b, mirror = candidate
        return overlay(features[a], features[b], mirror=mirror, thorough=thorough)

    done = 0
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        open_ = [item for item in batch if sure.find(item[1]) != sure.find(item[2])]
        for (_, a, b, _), seen in zip(open_, in_threads(lay, open_), strict=True):
            value = strength(seen, usual)
            if value > 0 and ((a, b) not in found or value > strength(found[a, b], usual)):
                found[a, b] = seen
            if value >= SURE:
                sure.join(a, b)
        done += len(batch)
        if progress is not None:
            progress(done, len(wanted))


def _second_candidates(
    straight: np.ndarray, flipped: np.ndarray, sure: UnionFind, across: int = 0
) -> list[Candidate]:
    """For pictures that are still nearly alone: the likeliest members of the likeliest groups."""
    n = len(straight)
    most = 1 if across else _LONELY
    lonely = np.array([row for row in range(across, n) if sure.size(row) <= most], dtype=np.int64)
    if len(lonely) in (0, n):
        return []
    vectors = straight[:across] if across else straight
    near: dict[int, dict[int, list[tuple[float, int, bool]]]] = defaultdict(lambda: defaultdict(list))
    for mirror, queries in ((False, straight), (True, flipped)):
        rows, likeness = nearest(vectors, queries[lonely], _WIDER)
        for row, others, how in zip(lonely.tolist(), rows.tolist(), likeness.tolist(), strict=True):
            for other, value in zip(others, how, strict=True):
                grouped = value > 0 and sure.size(other) > 1 and sure.find(other) != sure.find(row)
                if grouped:
                    near[row][sure.find(other)].append((value, other, mirror))
    wanted: set[Candidate] = set()
    for row, groups in near.items():
        for group in sorted(groups, key=lambda g: -max(groups[g])[0])[:_GROUPS]:
            for value, other, mirror in sorted(groups[group], reverse=True)[:_MEMBERS]:
                wanted.add((value, min(row, other), max(row, other), mirror))
    return sorted(wanted, key=lambda item: (-item[0], *item[1:]))[: _SECOND_LOOKS * (n - across)]


@contextmanager
def one_thread_each() -> Generator[None, None, None]:
    """Our threads take the cores; OpenCV and BLAS must not start their own inside each."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        cv2.setNumThreads(before)
