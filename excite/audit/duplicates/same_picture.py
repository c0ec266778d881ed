"""Pass 2: identical files or pixels, and the same picture re-encoded, resized, flipped, or rotated."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np
from scipy import ndimage

from excite.audit.duplicates.chance_similarity import (
    MIN_IMAGES,
    agreement,
    required_agreement,
    sample_background_pairs,
)
from excite.audit.duplicates.nearest_neighbors import nearest
from excite.audit.duplicates.pair import Pair
from excite.audit.duplicates.thumbnails import Thumbnail, coarse, spectra, unoriented

SIMILARITY = 0.9
"""Smallest similarity of two spectra, -1 to 1. On CIFAR-10, all nearest neighbors above it have the same
class; at 0.85, 8 % do not."""
DETAIL = 0.6
"""Smallest correlation of the thumbnails' details; images of the same composition only do not reach it."""
NEIGHBORS = 20
BLANK_CONFIDENCE = 0.5
"""Confidence of identical blank pictures: weak evidence, since every scanner produces black frames."""

ORIENTATIONS = (
    "",
    "mirrored",
    "upside down and mirrored",
    "turned by 180°",
    "mirrored and turned by 90°",
    "turned by 90°",
    "turned by 270°",
    "mirrored and turned by 270°",
)
"""The orientations by number, a sum: 1 flips x, 2 flips y, 4 transposes first."""

_BLOCK = 20_000
_CACHED = 5_000  # details of thumbnails in memory, 20 kB each


def oriented(pictures: np.ndarray, number: int) -> np.ndarray:
    """Pictures (n, S, S) in the given orientation."""
    if number & 4:
        pictures = pictures.transpose(0, 2, 1)
    if number & 2:
        pictures = pictures[:, ::-1]
    return pictures[:, :, ::-1] if number & 1 else pictures


def identical_pairs(sha256s: Sequence[str], thumbnails: Sequence[Thumbnail]) -> list[Pair]:
    """Each identical file or picture, paired with its first occurrence."""
    pairs = []
    files: dict[Hashable, int] = {}
    pixels: dict[Hashable, int] = {}
    for row, (sha256, one) in enumerate(zip(sha256s, thumbnails, strict=True)):
        confidence, remark = (BLANK_CONFIDENCE, ", but blank") if one.blank else (1.0, "")
        first_file, first = files.setdefault(sha256, row), pixels.setdefault(one.pixels_hash, row)
        if first_file != row:
            pairs.append(Pair(first_file, row, "identical file", "same SHA-256" + remark, confidence))
        elif first != row:
            remark = "every pixel equal after decoding" + remark
            pairs.append(Pair(first, row, "identical pixels", remark, confidence))
    return pairs


def near_pairs(thumbnails: Sequence[Thumbnail], rows: Sequence[int], across: int = 0) -> list[Pair]:
    """Pictures among ``rows`` that differ only in encoding, size, brightness, and orientation.

    Args:
        rows: indices of thumbnails, ascending.
        across: unless 0, only pairs of a row before this one and a row from it on are compared.
    """
    rows = [row for row in rows if not thumbnails[row].blank]
    known = sum(row < across for row in rows)
    if len(rows) < 2 or (across and known in (0, len(rows))):
        return []
    waves = _spectra_of(thumbnails, rows)
    keys = unoriented(waves)
    details = _Details([thumbnails[row] for row in rows])
    some = slice(known if known >= MIN_IMAGES else None)
    required = _required_significance(details, waves[some], keys[some])
    a, b = _candidates(keys, known)
    similarity, orientation = best_orientation(waves, a, b)
    close = similarity >= SIMILARITY
    pairs = []
    for one, two, value, turn in zip(a[close], b[close], similarity[close], orientation[close], strict=True):
        detail, significance = details.agree(int(one), int(two), int(turn))
        if detail >= DETAIL and significance >= required:
            # 2 bits of evidence at the threshold, 10 where the thumbnails are equal.
            sure = min((value - SIMILARITY) / (1 - SIMILARITY), 2 * (detail - DETAIL) / (1 - DETAIL), 1.0)
            words = f"thumbnails correlate {value:.2f}, their details {detail:.2f}"
            words += f", {ORIENTATIONS[turn]}" if turn else ""
            pairs.append(Pair(rows[one], rows[two], "same picture", words, float(1 - 2 ** -(2 + 8 * sure))))
    return pairs


def _spectra_of(thumbnails: Sequence[Thumbnail], rows: Sequence[int]) -> np.ndarray:
    """The spectra of the coarse thumbnails of rows, block by block: the thumbnails take 14 times as much."""
    parts = [
        spectra(np.stack([coarse(thumbnails[row].luma) for row in rows[start : start + _BLOCK]]))
        for start in range(0, len(rows), _BLOCK)
    ]
    return np.concatenate(parts)


def best_orientation(waves: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest similarity of each pair of rows ``a`` and ``b``, and the orientation of ``a`` for it."""
    sign = (-1.0) ** np.arange(waves.shape[1], dtype=np.float32)
    best = np.full(len(a), -2.0, np.float32)
    which = np.zeros(len(a), np.int64)
    for start in range(0, len(a), _BLOCK):
        part = slice(start, start + _BLOCK)
        one, two = waves[a[part]], waves[b[part]]
        for number in range(8):
            turned = one.transpose(0, 2, 1) if number & 4 else one
            turned = turned * sign[:, None] if number & 2 else turned
            turned = turned * sign if number & 1 else turned
            value = np.einsum("nuv,nuv->n", turned, two)
            better = value > best[part]
            best[part][better] = value[better]
            which[part][better] = number
    return best, which


def _candidates(keys: np.ndarray, known: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows a < b of neighbors whose similarity may reach ``SIMILARITY``."""
    rows, similarity = nearest(keys[:known] if known else keys, keys[known:], NEIGHBORS + 1)
    query = np.broadcast_to(np.arange(known, len(keys))[:, None], rows.shape)
    wanted = (similarity >= SIMILARITY) & (rows != query)
    pairs = np.sort(np.stack([query[wanted], rows[wanted]], axis=1), axis=1)
    pairs = np.unique(pairs, axis=0)
    return pairs[:, 0], pairs[:, 1]


def _required_significance(details: _Details, waves: np.ndarray, keys: np.ndarray) -> float:
    """The significance that the details of a pair must reach, from that of background pairs."""
    a, b = sample_background_pairs(keys)
    _, turns = best_orientation(waves, a, b)
    ends = zip(a, b, turns, strict=True)
    seen = [details.agree(int(one), int(two), int(turn))[1] for one, two, turn in ends]
    return required_agreement(np.array(seen), 0.0)


class _Details:
    """Details of thumbnails, finer than an eighth of the side; cached, since a thumbnail is in many pairs."""

    def __init__(self, thumbnails: Sequence[Thumbnail]) -> None:
        self._thumbnails = thumbnails
        self._of = lru_cache(_CACHED)(self._compute)

    def agree(self, one: int, two: int, orientation: int) -> tuple[float, float]:
        """``agreement`` of two thumbnails' details, at the pixels where both show the photo.

        Args:
            orientation: number of the orientation of ``one``.
        """
        fine = self._thumbnails[one].fine and self._thumbnails[two].fine
        (left, mask), (right, other_mask) = self._of(one, fine), self._of(two, fine)
        both = oriented(mask[None], orientation)[0] & other_mask
        if np.count_nonzero(both) < both.size / 4:
            return 0.0, 0.0
        return agreement(oriented(left[None], orientation)[0] * both, right * both)

    def _compute(self, row: int, fine: bool) -> tuple[np.ndarray, np.ndarray]:
        """(details, mask of the photo), both (S, S); S is 64 if fine, else 32."""
        picture = self._thumbnails[row]
        luma = picture.luma if fine else coarse(picture.luma)
        outside = picture.outside_mask() if fine else picture.coarse_outside_mask()
        return luma - ndimage.gaussian_filter(luma.astype(np.float32), len(luma) / 16), ~outside
