"""Pass 2 finds identical files and pixels, re-saved, resized, flipped and turned pictures, and no others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from excite.audit.duplicates.same_picture import best_orientation, near_pairs, oriented
from excite.audit.duplicates.thumbnails import spectra, thumbnail, unoriented
from tests.audit.duplicates.scenes import jpeg, scene

COUNT = 8
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG quality 20": lambda p: jpeg(p, 20),
    "half size": lambda p: p.resize((p.width // 2, p.height // 2), Image.Resampling.BICUBIC),
    "1.5 times": lambda p: p.resize((p.width * 3 // 2, p.height * 3 // 2), Image.Resampling.LANCZOS),
    "darker": lambda p: p.point(lambda v: int(v * 0.7)),
    "flipped": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda p: p.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned by 90": lambda p: p.transpose(Image.Transpose.ROTATE_90),
    "turned by 180": lambda p: p.transpose(Image.Transpose.ROTATE_180),
    "turned by 270": lambda p: p.transpose(Image.Transpose.ROTATE_270),
    "transposed": lambda p: p.transpose(Image.Transpose.TRANSPOSE),
}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(224, 200), (40, 36)])
@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_finds_its_picture_and_no_other(change: str, size: tuple[int, int]) -> None:
    pictures = [scene(seed, size) for seed in range(COUNT)]
    copies = [CHANGES[change](picture) for picture in pictures]
    pairs = near_pairs([thumbnail(p) for p in pictures + copies], range(2 * COUNT))
    found = {(pair.a, pair.b) for pair in pairs}
    assert found == {(seed, COUNT + seed) for seed in range(COUNT)}
    # The usual hash, at its usual threshold, finds no more of them.
    imagehash = pytest.importorskip("imagehash", reason="imagehash is not installed")
    hashes = [imagehash.phash(p) for p in pictures + copies]
    assert sum(hashes[seed] - hashes[COUNT + seed] <= 10 for seed in range(COUNT)) <= len(found)


@given(st.integers(0, 2**32 - 1), st.floats(0, 8), st.integers(0, 7))
def test_unoriented_spectra_do_not_change_and_lose_no_neighbor(seed: int, sigma: float, number: int) -> None:
    grain = np.random.default_rng(seed).standard_normal((2, 32, 32))
    smooth = ndimage.gaussian_filter(grain, (0, sigma, sigma))
    lumas = np.clip(smooth / smooth.std() * 40 + 120, 0, 255).astype(np.uint8)
    waves = spectra(lumas)
    turned = spectra(oriented(lumas, number))
    np.testing.assert_allclose(unoriented(turned), unoriented(waves), atol=1e-4)
    one, two = unoriented(waves)
    best = max(float((spectra(oriented(lumas[:1], turn))[0] * waves[1]).sum()) for turn in range(8))
    assert float(one @ two) >= best - 1e-4
    found, _ = best_orientation(waves, np.array([0]), np.array([1]))
    assert found[0] == pytest.approx(best, abs=1e-4)
