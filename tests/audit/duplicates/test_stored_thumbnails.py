"""Thumbnails in a file are those that were put there, and lead to the same pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excite.audit.duplicates import fingerprints
from excite.audit.duplicates.find import find_pairs
from excite.audit.duplicates.stored_thumbnails import StoredThumbnails
from excite.audit.duplicates.thumbnails import thumbnail
from excite.data.file_validation import check_files
from excite.data.reading import read_manifest


def picture(seed: int, side: int) -> Image.Image:
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return coarse.resize((side, side), Image.Resampling.BICUBIC)


def test_each_thumbnail_is_read_as_it_was_written(tmp_path: Path) -> None:
    before = [thumbnail(picture(seed, side)) for seed, side in enumerate((20, 40, 64, 100, 33))]
    before.append(thumbnail(Image.new("RGB", (50, 50))))
    stored = StoredThumbnails(iter(before), len(before), tmp_path)
    assert list(tmp_path.iterdir()) == []  # the file has no name
    assert len(stored) == len(before)
    for one, two in zip(before, stored, strict=True):
        assert (one.pixels_hash, one.blank, one.fine) == (two.pixels_hash, two.blank, two.fine)
        np.testing.assert_array_equal(one.luma, two.luma)
        np.testing.assert_array_equal(one.outside, two.outside)
    assert stored[-1].blank
    with pytest.raises(IndexError):
        stored[len(before)]


def test_pairs_are_the_same_from_memory_and_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(24):
        place = tmp_path / "data" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        picture(number % 18, 80).save(place / f"{number}.{'jpg' if number >= 18 else 'png'}")
    checked, _ = check_files(read_manifest(tmp_path / "data"))
    expected = find_pairs(checked, near_duplicates=False)
    monkeypatch.setattr(fingerprints, "IN_MEMORY", 3)
    assert find_pairs(checked, near_duplicates=False, cache=tmp_path / "cache") == expected
    assert len(expected) >= 6
