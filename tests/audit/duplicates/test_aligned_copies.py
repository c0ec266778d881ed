"""Small pictures that were shifted, cropped, or stretched a little are found; similar motifs are not."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from excite.audit.duplicates.aligned_copies import aligned_copy_pairs
from excite.audit.duplicates.chance_similarity import agreement
from excite.audit.duplicates.same_picture import near_pairs
from excite.audit.duplicates.thumbnails import Thumbnail, thumbnail
from tests.audit.duplicates.scenes import jpeg, scene

COUNT = 12


def window(picture: Image.Image, left: float, top: float, width: float, height: float) -> Image.Image:
    box = left, top, left + width, top + height
    return jpeg(picture.resize((32, 32), Image.Resampling.BOX, box=box), 70)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "shifted by 2 and 1 pixels": lambda p: window(p, 20 + 10, 20 - 5, 160, 160),
    "cropped by 10 %": lambda p: window(p, 20 + 8, 20 + 8, 144, 144),
    "squeezed by 10 %": lambda p: window(p, 20 + 8, 20, 144, 160),
    "mirrored and shifted": lambda p: ImageOps.mirror(window(p, 20 + 5, 20 + 10, 160, 160)),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_small_copy_out_of_place_finds_its_picture_and_no_other(change: str) -> None:
    scenes = [scene(seed, (200, 200)) for seed in range(COUNT)]
    thumbnails = [thumbnail(window(p, 20, 20, 160, 160)) for p in scenes]
    thumbnails += [thumbnail(CHANGES[change](p)) for p in scenes]
    pairs = aligned_copy_pairs(thumbnails, range(2 * COUNT))
    assert {(pair.a, pair.b) for pair in pairs} == {(seed, COUNT + seed) for seed in range(COUNT)}
    assert all(("mirror" in change) == ("mirrored" in pair.evidence) for pair in pairs)
    assert len(near_pairs(thumbnails, range(2 * COUNT))) < COUNT / 2  # without the alignment most are missed


def sign(kind: int, hand: int) -> Thumbnail:
    """One of five signs in white on black, drawn differently for each seed."""
    corners = np.random.default_rng(kind).uniform(0.2, 0.8, (6, 2))
    corners += np.random.default_rng(1000 + hand).normal(0, 0.03, (6, 2))
    drawn = cv2.polylines(np.zeros((112, 112), np.uint8), [np.int32(corners * 112)], False, 255, 10)
    small = cv2.resize(drawn, (28, 28), interpolation=cv2.INTER_AREA)
    return thumbnail(Image.fromarray(small).convert("RGB"))


@pytest.mark.parametrize("search", [near_pairs, aligned_copy_pairs])
def test_signs_of_one_kind_are_no_near_duplicates(search: Callable) -> None:
    hands = [sign(hand % 3, hand) for hand in range(300)]
    found = search([*hands, hands[7]], range(301))
    assert (7, 300) in {(pair.a, pair.b) for pair in found}
    assert len(found) <= 3  # without regard to how alike they all are, hundreds


def test_few_or_no_pictures_have_no_pairs() -> None:
    one = thumbnail(scene(0, (32, 32)))
    assert aligned_copy_pairs([], []) == aligned_copy_pairs([one], [0]) == []


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.floats(-1, 1))
def test_agreement_is_numpys_correlation_and_counts_pixels(seed: int, share: float) -> None:
    left, right = np.random.default_rng(seed).standard_normal((2, 30, 20))
    right = share * left + right
    left, right = left - left.mean(), right - right.mean()
    correlation, significance = agreement(left, right)
    assert correlation == pytest.approx(np.corrcoef(left.ravel(), right.ravel())[0, 1], abs=1e-6)
    # All pixels of a picture count when it is of one strength, one when it is a dot.
    signs = np.where(left > 0, 1.0, -1.0)
    dot = np.zeros((30, 20))
    dot[3, 4] = 1
    assert agreement(signs, signs)[1] == pytest.approx(600**0.5 * agreement(dot, dot)[1])
    assert abs(significance) <= np.arctanh(min(abs(correlation), 0.9999)) * 600**0.5 + 1e-6
    assert agreement(left, 0 * right) == (0.0, 0.0)
