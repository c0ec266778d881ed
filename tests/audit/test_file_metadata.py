"""Metadata of files against Pillow, NumPy, and the bytes on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excite.audit.file_metadata import read_file_metadata
from excite.data.decoding import decode
from tests.audit.pictures import noise


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp", "gif", "ppm", "jp2"])
def test_metadata_agrees_with_the_pixels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    noise(64, 48).save(path)
    fact = read_file_metadata(path)
    pixels = np.asarray(decode(path), dtype=float)
    assert fact is not None
    assert fact.bytes == path.stat().st_size
    assert fact.std == pytest.approx(pixels.std(axis=(0, 1)).mean(), abs=1e-2)
    assert fact.format in {"PNG", "JPEG", "BMP", "TIFF", "WebP", "GIF", "PPM", "JPEG 2000"}
    assert not fact.gray


def test_quantization_decreases_with_jpeg_quality(tmp_path: Path) -> None:
    levels = []
    for quality in (30, 60, 90):
        noise(64, 48).save(tmp_path / "x.jpg", quality=quality)
        levels.append(read_file_metadata(tmp_path / "x.jpg").quantization)
    assert levels[0] > levels[1] > levels[2] > 0


def test_pictures_beyond_pillows_limit_have_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise(100, 100).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    fact = read_file_metadata(tmp_path / "x.png")
    assert fact is not None
    assert fact.std > 50
