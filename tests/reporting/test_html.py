"""Thumbnails, common folders, and templates in which text is never markup."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from excite.reporting.html import SIDE, common_folder, template, thumbnail


def opened(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def test_a_thumbnail_has_the_proportions_of_the_image(tmp_path: Path) -> None:
    Image.new("RGB", (1000, 500), (200, 30, 30)).save(tmp_path / "x.png")
    address = thumbnail(str(tmp_path / "x.png"))
    assert address.startswith("data:image/jpeg;base64,")
    assert opened(address).size == (SIDE, SIDE // 2)
    assert np.abs(np.asarray(opened(address))[5, 5].astype(int) - (200, 30, 30)).max() <= 3


def test_a_small_image_is_kept_exactly(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    address = thumbnail(str(tmp_path / "x.png"))
    assert address.startswith("data:image/png;base64,")
    assert (np.asarray(opened(address)) == pixels).all()


def test_a_missing_or_damaged_file_has_no_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"nothing")
    assert thumbnail(str(tmp_path / "x.png")) == thumbnail(str(tmp_path / "y.png")) == ""


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["/data/a/1.png", "/data/a/2.png"], "/data/a/"),
        (["/data/a/1.png", "/data/ab/2.png"], "/data/"),
        (["/1.png", "/data/2.png"], "/"),
        (["1.png", "2.png"], ""),
        ([], ""),
    ],
)
def test_the_common_folder_ends_in_a_separator(paths: list[str], folder: str) -> None:
    paths = [path.replace("/", os.sep) for path in paths]
    assert common_folder(paths) == folder.replace("/", os.sep)


def test_a_missing_value_is_an_error_and_not_an_empty_place() -> None:
    with pytest.raises(UndefinedError):
        template("report.html").render()
