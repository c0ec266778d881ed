"""Pillow's global settings neither hinder decoding nor are changed by it."""

from __future__ import annotations

import io
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from excite.data.decoding import decode
from excite.data.pillow_limits import whole_images_only, without_texts
from excite.errors import ExciteError
from tests.data.files import COLOR, RANDOM, encoded


@pytest.mark.parametrize("where", ["text", "compressed text", "international text", "profile"])
def test_a_png_with_megabytes_of_text_or_profile_is_a_sound_image(where: str) -> None:
    texts, options = PngImagePlugin.PngInfo(), {}
    if where == "profile":
        options["icc_profile"] = bytes(2_000_000)
    elif where == "international text":
        texts.add_itxt("workflow", "x" * 2_000_000, zip=True)
    else:
        texts.add_text("workflow", "x" * 2_000_000, zip=where != "text")
    data = encoded(Image.fromarray(COLOR), "PNG", pnginfo=texts, **options)
    np.testing.assert_array_equal(np.asarray(decode(data)), COLOR)


def test_a_png_with_much_text_that_is_cut_short_is_still_refused() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", "x" * 2_000_000, zip=True)
    noise = Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, "PNG", pnginfo=texts)
    with pytest.raises(ExciteError, match=r"truncated|damaged"):
        decode(data[: len(data) - 4000])


@pytest.mark.parametrize("choice", [True, False])
def test_pillows_own_switch_is_left_as_the_caller_has_it(
    monkeypatch: pytest.MonkeyPatch, choice: bool
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", choice)
    data = encoded(Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8)), "PNG")
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(decode, data if number % 2 else data[:5000]) for number in range(64)]
    for number, future in enumerate(futures):
        assert (future.exception() is None) == bool(number % 2)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is choice


def test_a_png_with_a_large_profile_keeps_the_orientation_in_its_metadata() -> None:
    turned = '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", turned)
    data = encoded(Image.fromarray(COLOR), "PNG", pnginfo=texts, icc_profile=bytes(2_000_000))
    np.testing.assert_array_equal(np.asarray(decode(data)), np.rot90(COLOR, -1))


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(name, body) of each chunk of a PNG."""
    found, at = [], 8
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        found.append((name, data[at + 8 : at + 8 + length]))
        at += length + 12
    return found


def test_only_texts_and_profiles_are_taken_out_of_a_png() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("comment", "x" * 10)
    texts.add_text("much", "x" * 200_000, zip=False)
    texts.add_itxt("XML:com.adobe.xmp", "kept: it may hold the orientation")
    data = encoded(Image.fromarray(COLOR), "PNG", pnginfo=texts, icc_profile=bytes(100), dpi=(72, 72))
    before, after = chunks(data), chunks(without_texts(io.BytesIO(data)).getvalue())
    assert {name for name, _ in before} >= {b"tEXt", b"iTXt", b"iCCP", b"pHYs"}
    assert after == [
        (name, body)
        for name, body in before
        if name not in (b"tEXt", b"zTXt", b"iCCP") and not (name == b"iTXt" and b"adobe" not in body)
    ]


@pytest.mark.parametrize("end", [0, 4, 8, 12, 20, 40, -1])
def test_a_png_that_ends_early_keeps_its_end(end: int) -> None:
    data = encoded(Image.fromarray(COLOR), "PNG")[:end]
    assert without_texts(io.BytesIO(data)).getvalue() == data


def test_the_switch_comes_back_after_an_error_and_after_the_last_of_two_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ValueError), whole_images_only():  # noqa: PT012
        with whole_images_only():
            assert not ImageFile.LOAD_TRUNCATED_IMAGES
        assert not ImageFile.LOAD_TRUNCATED_IMAGES  # the outer one still reads
        raise ValueError
    assert ImageFile.LOAD_TRUNCATED_IMAGES
