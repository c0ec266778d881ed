"""Images of every format become upright RGB; other files are refused with a reason."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from excite.data.decoding import decode, decode_and_hash
from excite.errors import ExciteError
from tests.data.files import COLOR, RANDOM, encoded


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and contains almost no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_sixteen_bits_keep_their_upper_eight() -> None:
    deep = RANDOM.integers(0, 65536, (9, 7), dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        pixels = np.asarray(decode(encoded(Image.fromarray(deep), kind)))
        np.testing.assert_array_equal(pixels, np.repeat((deep // 256)[..., None], 3, axis=2))
    pgm = b"P5 7 9 65535\n" + deep.astype(">u2").tobytes()
    np.testing.assert_array_equal(np.asarray(decode(pgm))[..., 0], deep // 256)


def test_floating_point_gray_is_read_by_the_range_that_is_given_and_not_without_one() -> None:
    fraction = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    data = encoded(Image.fromarray(fraction), "TIFF")
    pixels = np.asarray(decode(data, intensity_range=(0, 1)))[..., 0]
    np.testing.assert_array_equal(pixels, np.rint(fraction * 255))
    byte = fraction * 300 - 20
    pixels = np.asarray(decode(encoded(Image.fromarray(byte), "TIFF"), intensity_range=(0, 255)))[..., 1]
    np.testing.assert_array_equal(pixels, np.rint(np.clip(byte, 0, 255)))
    with pytest.raises(ExciteError, match="floating-point samples"):
        decode(data)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    first = np.asarray(decode(data)).reshape(-1, 3).mean(axis=0)
    assert np.abs(first - (255, 0, 0)).max() < 8


KINDS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"]


@pytest.mark.parametrize("kind", KINDS)
def test_content_counts_and_not_the_suffix(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture.gif"
    path.write_bytes(encoded(Image.fromarray(COLOR), kind))
    expected = np.asarray(Image.open(path).convert("RGB"))
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        np.testing.assert_array_equal(np.asarray(decode(source)), expected)
    with path.open("rb") as file:
        assert decode(file).size == (40, 24)


@pytest.mark.parametrize("kind", [*KINDS, "progressive"])
def test_half_a_file_is_refused_though_other_code_allows_it(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, "JPEG", progressive=True) if kind == "progressive" else encoded(noise, kind)
    path = tmp_path / "cut.jpg"
    for share in (0.02, 0.3, 0.6, 0.95):
        path.write_bytes(data[: max(1, int(len(data) * share))])
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        with pytest.raises(ExciteError) as caught:
            decode(path)
        assert caught.value.where == str(path)
        assert "\n" not in caught.value.what


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"<!doctype html><html><body>404 not found</body></html>", "is a web page"),
        ("Grüße, kein Bild".encode(), "not an image but text"),
        (bytes(4096), "contains only zeros"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\x00\x01", "is a PDF document"),
        (b"8BPS\x00\x01" + bytes(20), "is a Photoshop document"),
        (b"\0\0\0\x20ftypheic" + bytes(40), "is HEIC"),
        (b"\0\0\0\x1cftypavif" + bytes(40), "is AVIF"),
        (bytes(128) + b"DICM" + bytes(60), "is DICOM"),
        (b"\x93NUMPY\x01\0" + bytes(60), "is a NumPy array"),
        (b"PK\x03\x04" + bytes(60), "is a ZIP archive"),
        (b"\x1f\x8b\x08" + bytes(60), "compressed with gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "is HDF5"),
        (b"\x5c\x01\0\0" + bytes(400), "is NIfTI"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(60), "camera raw file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "run git lfs pull"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing"),
        (b"\xff\x0a" + bytes(60), "is JPEG XL"),
        (b"\x01\x02garbage" * 9, "not an image of a known format"),
        (b"\x89PNG\r\n\x1a\n" + b"\xfe" * 100, "damaged|truncated"),
        (b"\xff\xd8\xff" + b"\0" * 100, "damaged|truncated"),
        (png_header(0, 5), "no pixels|damaged"),
        (png_header(60_000, 60_000), r"too large: 60000 x 60000 pixels, the limit is 100,000,000"),
        (png_header(10_001, 10_000), r"too large: 10001 x 10000 pixels"),
        (b"P6 60000 60000 255\n" + bytes(10), "too large"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    with pytest.raises(ExciteError, match=reason) as caught:
        decode(path)
    assert caught.value.where == str(path)
    assert caught.value.exit_code == 1


def test_the_pixel_limit_is_the_callers() -> None:
    data = encoded(Image.new("RGB", (20, 30)), "PNG")
    assert decode(data, max_pixels=600).size == (20, 30)
    with pytest.raises(ExciteError, match="20 x 30"):
        decode(data, max_pixels=599)


def test_pillows_own_limit_neither_hinders_nor_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode(encoded(Image.new("L", (20, 30)), "PNG")).size == (20, 30)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_missing_files_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match="there is no such file"):
        decode(tmp_path / "gone.png")
    with pytest.raises(ExciteError, match="is not a file"):
        decode(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ExciteError, match="is not a file"):
            decode(tmp_path / "pipe.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(ExciteError, match="permission denied"):
        decode(path)


def test_the_hash_is_of_the_files_bytes(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "x.png"
    path.write_bytes(encoded(Image.fromarray(COLOR), "PNG"))
    picture, digest = decode_and_hash(path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_array_equal(np.asarray(picture), COLOR)


def test_a_jpeg_with_twelve_bits_is_named_as_such() -> None:
    data = bytearray(encoded(Image.fromarray(COLOR), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 4] = 12  # the precision of the frame header
    with pytest.raises(ExciteError, match="JPEG with 12 bits per sample"):
        decode(bytes(data))
