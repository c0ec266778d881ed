"""Thumbnails and their spectra, against SciPy's DCT."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import fft

from excite.audit.duplicates.thumbnails import FREQUENCIES, SIDE, coarse, spectra, thumbnail, unoriented


def picture(size: tuple[int, int] = (90, 70), seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(20, 235, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_spectra_are_weighted_low_frequencies_of_the_dct() -> None:
    lumas = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE)).astype(np.float64)
    # Undo SciPy's orthogonal scaling of the first row and column.
    full = fft.dctn(lumas, axes=(1, 2), type=2)[:, :FREQUENCIES, :FREQUENCIES]
    number = np.arange(FREQUENCIES)
    weighted = full * np.hypot(number[:, None], number)
    expected = weighted / np.sqrt((weighted**2).sum(axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(spectra(lumas), expected, atol=1e-4)


@pytest.mark.parametrize("turn", [lambda x: x[:, ::-1], lambda x: x[::-1], lambda x: x.T])
def test_flips_and_rotations_do_not_change_the_key(turn: object) -> None:
    luma = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE))
    keys = unoriented(spectra(np.stack([luma, turn(luma)])))
    np.testing.assert_allclose(keys[0], keys[1], atol=1e-4)


def test_equal_pixels_have_equal_hashes_and_one_other_pixel_does_not() -> None:
    image = picture()
    other = image.copy()
    other.putpixel((0, 0), (1, 2, 3))
    assert thumbnail(image).pixels_hash == thumbnail(image.copy()).pixels_hash
    assert thumbnail(image).pixels_hash != thumbnail(other).pixels_hash


def test_the_side_depends_on_the_size_of_the_image() -> None:
    assert thumbnail(picture((90, 70))).fine
    small = thumbnail(picture((40, 40)))
    assert not small.fine
    assert small.luma.shape == (SIDE, SIDE)
    assert coarse(thumbnail(picture()).luma).shape == (SIDE, SIDE)


def test_a_flat_image_is_blank() -> None:
    assert thumbnail(Image.new("RGB", (64, 64), (90, 90, 90))).blank
    assert not thumbnail(picture()).blank
