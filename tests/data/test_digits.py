"""The built-in digits, against scikit-learn's arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from excite.data.digits import IMAGES, digits_folder
from excite.errors import ExciteError


def test_the_files_are_the_digits(tmp_path: Path) -> None:
    folder = digits_folder(tmp_path)
    digits = load_digits()
    assert sum(1 for _ in folder.rglob("*.png")) == IMAGES == len(digits.target)
    for index in (0, 7, 1796):
        pixels = np.asarray(Image.open(folder / str(digits.target[index]) / f"{index:04d}.png"))
        assert np.array_equal(pixels, np.rint(digits.images[index] * 255 / 16))


def test_a_folder_with_missing_files_is_written_again(tmp_path: Path) -> None:
    folder = digits_folder(tmp_path)
    missing = next((folder / "3").iterdir())
    missing.unlink()
    assert digits_folder(tmp_path) == folder
    assert missing.exists()
    assert not list(tmp_path.glob(".digits*"))


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExciteError, match=r"the digits cannot be written.*EXCITE_CACHE"):
        digits_folder(tmp_path / "file")
