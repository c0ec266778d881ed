"""The square that a network sees, against slices and Pillow calls written out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from excite.data.preprocessing import RESIZE_MODES, Preprocessing
from excite.errors import BAD_USAGE, ExciteError


def picture(width: int, height: int) -> Image.Image:
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(1, 256, (height, width, 3), dtype=np.uint8))


def bilinear(image: Image.Image, width: int, height: int) -> np.ndarray:
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


@settings(max_examples=80, deadline=None)
@given(
    size=st.integers(1, 40),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    resize_mode=st.sampled_from(RESIZE_MODES),
)
def test_any_picture_becomes_a_square_of_bytes(size: int, width: int, height: int, resize_mode: str) -> None:
    pixels = Preprocessing(size, resize_mode).pixels(picture(width, height))
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    if resize_mode != "pad":
        assert pixels.min() > 0  # no border


@pytest.mark.parametrize("resize_mode", RESIZE_MODES)
def test_a_square_of_the_right_size_stays_as_it_is(resize_mode: str) -> None:
    image = picture(16, 16)
    assert np.array_equal(Preprocessing(16, resize_mode).pixels(image), np.asarray(image))


def test_crop_cuts_the_middle_out() -> None:
    wide, tall = picture(20, 10), picture(10, 20)
    crop = Preprocessing(10, "crop")
    assert np.array_equal(crop.pixels(wide), np.asarray(wide)[:, 5:15])
    assert np.array_equal(crop.pixels(tall), np.asarray(tall)[5:15])


@pytest.mark.parametrize(("width", "height"), [(60, 40), (41, 97), (7, 5)])
def test_crop_scales_as_pillow_scales_the_cut_out_middle(width: int, height: int) -> None:
    image = picture(width, height)
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    cut = bilinear(image.crop((left, top, left + side, top + side)), 24, 24)
    ours = Preprocessing(24, "crop").pixels(image)
    # At the cut, Pillow's filter sees the neighbors beyond it where the whole picture is at hand.
    inside = np.s_[6:-6, 6:-6]
    assert np.abs(ours[inside].astype(int) - cut[inside]).max() <= 1


def test_stretch_scales_both_sides() -> None:
    image = picture(61, 30)
    assert np.array_equal(Preprocessing(24, "stretch").pixels(image), bilinear(image, 24, 24))


@pytest.mark.parametrize(
    ("width", "height", "inner"),
    [(40, 20, (24, 12)), (20, 40, (12, 24)), (30, 20, (24, 16)), (300, 2, (24, 1))],
)
def test_pad_keeps_the_whole_picture_in_the_middle_of_black(
    width: int, height: int, inner: tuple[int, int]
) -> None:
    image = picture(width, height)
    pixels = Preprocessing(24, "pad").pixels(image)
    left, top = (24 - inner[0]) // 2, (24 - inner[1]) // 2
    inside = np.s_[top : top + inner[1], left : left + inner[0]]
    assert np.array_equal(pixels[inside], bilinear(image, *inner))
    border = np.ones((24, 24), dtype=bool)
    border[inside] = False
    assert not pixels[border].any()


def test_shrinking_averages_over_all_pixels() -> None:
    """A fine chequerboard becomes gray, not a pattern of its own."""
    board = (np.indices((96, 96)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = Preprocessing(8).pixels(Image.fromarray(board).convert("RGB"))
    assert np.abs(pixels.astype(int) - 127).max() <= 3


@pytest.mark.parametrize("resize_mode", RESIZE_MODES)
def test_bicubic_is_pillows_and_has_a_geometry_of_its_own(resize_mode: str) -> None:
    cubic, linear = Preprocessing(24, resize_mode, interpolation="bicubic"), Preprocessing(24, resize_mode)
    square = picture(61, 61)
    expected = np.asarray(square.resize((24, 24), Image.Resampling.BICUBIC))
    assert np.array_equal(cubic.pixels(square), expected)
    assert not np.array_equal(linear.pixels(square), expected)
    assert cubic.geometry != linear.geometry


def test_it_survives_json_with_equal_values() -> None:
    before = Preprocessing(64, "pad", mean=(0.1, 0.2, 0.3), std=(1, 2, 3), interpolation="bicubic")
    assert Preprocessing(**json.loads(json.dumps(before.to_dict()))) == before


def test_the_geometry_names_what_the_pixels_depend_on() -> None:
    names = {
        Preprocessing(size, resize_mode).geometry for size in (1, 11, 111) for resize_mode in RESIZE_MODES
    }
    assert len(names) == 9
    assert Preprocessing(64, std=(1, 1, 1)).geometry == Preprocessing(64).geometry


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"resize_mode": "crp"}, "did you mean 'crop'"),
        ({"interpolation": "cubic"}, "did you mean 'bicubic'"),
        ({"image_size": 0}, "at least 1, got 0"),
        ({"mean": (0.5, 0.5)}, "three numbers"),
        ({"std": (0.5,) * 4}, "three numbers"),
        ({"std": (0.5, 0, 0.5)}, "must be positive"),
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ExciteError, match=message) as raised:
        Preprocessing(**({"image_size": 8} | wrong))
    assert raised.value.exit_code == BAD_USAGE
