"""Copies among small pictures that are shifted, cropped or stretched slightly, or mirrored.

Pictures of 32 pixels have too few local features for pass 3, and pass 2 misses copies that are shifted by a
pixel or two. Three steps, each for fewer pairs, find them: nearest neighbors by coarse thumbnails, the best
shift by cross-correlation, and an affine map by the ECC algorithm (Evangelidis and Psarakis 2008) under which
details are compared. All thresholds were chosen on CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy import fft

from excite.audit.duplicates.chance_similarity import (
    MIN_IMAGES,
    agreement,
    required_agreement,
    sample_background_pairs,
)
from excite.audit.duplicates.nearest_neighbors import nearest
from excite.audit.duplicates.pair import Pair
from excite.audit.duplicates.thumbnails import SIDE, Thumbnail, spectra
from excite.system.parallel import Progress, in_threads

NEIGHBORS = 10
"""Number of neighbors, mirrored and not: it finds 92 % of the test images that have a copy; 30 find 94 %."""
ALIGNED = 0.65
"""Smallest correlation at the best shift, of structures that are 1 to 3 pixels wide: 92 % of the copies reach
it, and 2 % of all neighbors."""
DETAIL = 0.8
"""Smallest correlation of details after alignment: of 1,162 pairs above it, 99.8 % have the same class."""
SIGNIFICANCE = 16.0
"""Smallest significance of that correlation in standard deviations, as in ``agreement``; larger in a data set
of similar pictures."""

_FREQUENCIES = 8  # of the coarse thumbnails, in each direction
_SHIFT = 3  # pixels, each way
_STRETCH = 1.35  # largest change of scale by the map; 98 % of CIFAR-10's copies have less
_LEAST_OVERLAP = 0.4
_SMOOTHED = 3  # size in pixels of ECC's Gaussian filter
_COMPARISONS = 2  # per picture at most, on average, 1.6 ms each; similar pictures have many candidates
_BAND = 8  # frequencies of the cross-correlation, of 16; the band-pass filter removes the others
_SIGMA = 2.0  # pixels; details are narrower than this
_BLOCK = 8192


class _Alignment(NamedTuple):
    """A pair, and how ``a`` is aligned with ``b``: mirrored first or not, then shifted by (x, y) pixels."""

    a: int
    b: int
    mirror: bool
    shift: tuple[int, int]


def aligned_copy_pairs(
    thumbnails: Sequence[Thumbnail],
    rows: Sequence[int],
    progress: Progress | None = None,
    across: int = 0,
) -> list[Pair]:
    """Copies among ``rows``, whose thumbnails have 32 pixels per side and are not blank.

    Args:
        rows: indices of thumbnails, ascending.
        across: unless 0, only pairs of a row before this one and a row from it on are compared.
    """
    known = sum(row < across for row in rows)
    if len(rows) < 2 or (across and known in (0, len(rows))):
        return []
    lumas = np.stack([thumbnails[row].luma for row in rows])
    waves, keys = _band(lumas), _keys(spectra(lumas))

    def compare_details(alignment: _Alignment) -> tuple[float, float]:
        one, two = thumbnails[rows[alignment.a]], thumbnails[rows[alignment.b]]
        return details(one, two, mirror=alignment.mirror, shift=alignment.shift)

    a, b = sample_background_pairs(
        keys[: known if known >= MIN_IMAGES else None].reshape(-1, _FREQUENCIES**2)
    )
    background = _at_best_shift(waves, a, b, np.zeros(len(a), bool), least=-1.0)
    least = required_agreement(
        np.array([significance for _, significance in map(compare_details, background)]), SIGNIFICANCE
    )
    most = _COMPARISONS * (len(rows) - known)
    likely = _at_best_shift(waves, *_candidates(keys, known), least=ALIGNED)[:most]
    pairs = []
    measured = in_threads(compare_details, likely, progress=progress)
    for alignment, (detail, significance) in zip(likely, measured, strict=True):
        if detail >= DETAIL and significance >= least:
            # 2 bits of evidence at the thresholds, 10 where the pictures are equal.
            sure = min((detail - DETAIL) / (1 - DETAIL), significance / least - 1, 1.0)
            words = f"details correlate {detail:.2f} after a small shift and stretch"
            words += ", mirrored" if alignment.mirror else ""
            a_, b_ = sorted((rows[alignment.a], rows[alignment.b]))
            pairs.append(Pair(a_, b_, "same picture", words, float(1 - 2 ** -(2 + 8 * sure))))
    return pairs


def details(
    one: Thumbnail, two: Thumbnail, *, mirror: bool, shift: Sequence[float] = (0.0, 0.0)
) -> tuple[float, float]:
    """(correlation, its Fisher z in standard deviations) of the details of two thumbnails after alignment.

    Args:
        mirror: flip ``one`` first.
        shift: the initial shift (x, y): ``one`` at (px + x, py + y) looks like ``two`` at (px, py).
    """
    left, right = one.luma.astype(np.float32), two.luma.astype(np.float32)
    mask, other_mask = (~picture.outside_mask() for picture in (one, two))
    if mirror:
        left, mask = np.ascontiguousarray(left[:, ::-1]), mask[:, ::-1]
    start = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    steps = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    try:
        every = np.ones(left.shape, np.uint8)
        _, matrix = cv2.findTransformECC(right, left, start, cv2.MOTION_AFFINE, steps, every, _SMOOTHED)
    except cv2.error:  # it did not converge: the pictures cannot be aligned
        return 0.0, 0.0
    large, small = np.linalg.svd(matrix[:, :2], compute_uv=False)
    if large > _STRETCH or small < 1 / _STRETCH:
        return 0.0, 0.0
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = right.shape[::-1]
    warped = cv2.warpAffine(left, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE)
    both = (cv2.warpAffine(mask.astype(np.float32), matrix, size, flags=how) > 0.99) & other_mask
    if both.mean() < _LEAST_OVERLAP:
        return 0.0, 0.0
    warped, right = ((x - cv2.GaussianBlur(x, (0, 0), _SIGMA)) * both for x in (warped, right))
    return agreement(warped, right)


def _keys(waves: np.ndarray) -> np.ndarray:
    """The lowest frequencies times frequency^-1/2, (n, 8, 8): a shift changes the lowest ones least."""
    number = np.arange(_FREQUENCIES)
    weight = np.maximum(np.hypot(number[:, None], number), 1) ** -0.5
    keys = waves[:, :_FREQUENCIES, :_FREQUENCIES] * weight.astype(np.float32)
    return keys / np.maximum(np.sqrt((keys**2).sum(axis=(1, 2), keepdims=True)), 1e-6)


def _candidates(keys: np.ndarray, known: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(a, b, mirror) of neighbors, a < b; each pair at most once mirrored and once not."""
    vectors, straight = (keys[:known] if known else keys), keys[known:]
    n = len(straight)
    mirrored = straight * (-1.0) ** np.arange(_FREQUENCIES, dtype=np.float32)
    queries = np.concatenate([straight, mirrored]).reshape(2 * n, -1)
    neighbors, _ = nearest(vectors.reshape(len(vectors), -1), queries, NEIGHBORS + 1)
    asking = np.broadcast_to(np.arange(2 * n)[:, None], neighbors.shape)
    wanted = (neighbors >= 0) & (neighbors != asking % n + known)
    one, two, mirror = asking[wanted] % n + known, neighbors[wanted], asking[wanted] >= n
    ends = np.unique(np.stack([np.minimum(one, two), np.maximum(one, two), mirror], axis=1), axis=0)
    return ends[:, 0], ends[:, 1], ends[:, 2].astype(bool)


def _at_best_shift(
    waves: np.ndarray, a: np.ndarray, b: np.ndarray, mirror: np.ndarray, *, least: float
) -> list[_Alignment]:
    """The pairs that correlate at some shift, best first, each with its best shift.

    Args:
        waves: the result of ``_band``.
    """
    steps = np.arange(-_SHIFT, _SHIFT + 1)
    shifts = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)  # x, y
    down, across = np.arange(-_BAND, _BAND + 1)[:, None], np.arange(_BAND + 1)[None]
    turns = down[..., None] * shifts[:, 1] + across[..., None] * shifts[:, 0]
    phase = np.exp(2j * np.pi / SIDE * turns).reshape(-1, len(shifts)).astype(np.complex64)
    flip = np.exp(2j * np.pi / SIDE * across).astype(np.complex64)  # of the DFT: columns x -> 31 - x
    best, which = np.empty(len(a), np.float32), np.empty(len(a), np.int64)
    for start in range(0, len(a), _BLOCK):
        part = slice(start, start + _BLOCK)
        left = waves[a[part]]
        flipped = left[:, ::-1].conj() * flip
        left = np.where(mirror[part][:, None, None], flipped, left) * waves[b[part]].conj()
        value = (left.reshape(len(left), -1) @ phase).real
        which[part] = value.argmax(axis=1)
        best[part] = value.max(axis=1)
    alignments: dict[tuple[int, int], _Alignment] = {}
    for place in np.argsort(-best, kind="stable"):
        if best[place] < least:
            break
        ends = int(a[place]), int(b[place])
        x, y = shifts[which[place]].tolist()
        alignments.setdefault(ends, _Alignment(*ends, bool(mirror[place]), (x, y)))
    return list(alignments.values())


def _band(lumas: np.ndarray) -> np.ndarray:
    """The DFT of band-pass filtered thumbnails (structures of 1 to 3 pixels), of unit length.

    Args:
        lumas: (n, 32, 32).

    Returns:
        (n, 17, 9) complex64: the half-plane of low frequencies, rows -8 to 8 and columns 0 to 8; columns 1 to
        8 are weighted for their complex conjugates.
    """
    waves = np.empty((len(lumas), 2 * _BAND + 1, _BAND + 1), np.complex64)
    for start in range(0, len(lumas), _BLOCK):
        part = lumas[start : start + _BLOCK].astype(np.float32)
        band = np.stack([cv2.GaussianBlur(x, (0, 0), 1.0) - cv2.GaussianBlur(x, (0, 0), 3.0) for x in part])
        waves[start : start + len(part)] = fft.rfft2(band)[:, np.arange(-_BAND, _BAND + 1), : _BAND + 1]
    waves[:, :, 1:] *= np.float32(2**0.5)
    length = np.sqrt((np.abs(waves) ** 2).sum(axis=(1, 2), keepdims=True))
    return waves / np.maximum(length, 1e-6)
