"""The built-in digits, against scikit-learn's arrays."""

from __future__ import annotations

import errno
import subprocess
import sys
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


def test_a_full_disk_is_an_error_and_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(ExciteError, match=r"cannot be written: no space left on device .*EXCITE_CACHE"):
        digits_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_processes_may_write_the_digits_at_once(tmp_path: Path) -> None:
    code = "import sys, pathlib; from excite.data.digits import digits_folder; "
    code += "print(len(list(digits_folder(pathlib.Path(sys.argv[1])).rglob('*.png'))))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == ["1797", "1797"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["digits"]
