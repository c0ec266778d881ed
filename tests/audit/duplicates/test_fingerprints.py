"""Fingerprints are read back unchanged; no image is read twice, and changed images have none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from excite.audit.duplicates import fingerprints
from excite.audit.duplicates.fingerprints import (
    SMALLEST,
    _packed,
    _unpacked,
    cached_fingerprints,
    compute_fingerprints,
)
from excite.data.manifest import Manifest
from excite.errors import ExciteError
from tests.audit.checked import checked
from tests.audit.duplicates.scenes import scene


def test_a_fingerprint_is_read_back_unchanged(known: Manifest) -> None:
    for fingerprint in compute_fingerprints(known, near_duplicates=True, max_pixels=10**8):
        again = _unpacked(b"".join(_packed(fingerprint)))
        for name, value in vars(fingerprint.thumbnail).items():
            np.testing.assert_array_equal(getattr(again.thumbnail, name), value)
        assert fingerprint.features is not None
        assert again.features is not None
        for name, value in vars(fingerprint.features).items():
            np.testing.assert_array_equal(getattr(again.features, name), value)


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"x", None, "text"])
def test_with_a_damaged_cache_the_image_is_read_again(
    known: Manifest, tmp_path: Path, content: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"near_duplicates": False, "max_pixels": 10**8, "cache": tmp_path / "cache"}
    looked: list[object] = []
    fingerprint = fingerprints._fingerprint
    monkeypatch.setattr(
        fingerprints, "_fingerprint", lambda *a, **k: looked.append(a) or fingerprint(*a, **k)
    )
    cached_fingerprints(known, **options)
    cached_fingerprints(known, **options)
    assert len(looked) == len(known)
    memory = tmp_path / "cache" / "fingerprints.sqlite"
    if isinstance(content, bytes):
        memory.write_bytes(content * 5000)  # not a database
    else:
        database = fingerprints.sqlite3.connect(memory)
        with database:
            database.execute("UPDATE fingerprints SET fingerprint = ?", (content,))
        database.close()
    assert all(one is not None for one in cached_fingerprints(known, **options))
    assert len(looked) == 2 * len(known)


def test_a_file_that_changed_or_vanished_has_none_and_the_others_have_theirs(known: Manifest) -> None:
    paths = [Path(path) for path in known.table["path"]]
    paths[1].unlink()
    scene(77).save(paths[4])
    found = cached_fingerprints(known, near_duplicates=False, max_pixels=10**8)
    assert [one is None for one in found] == [row in (1, 4) for row in range(6)]
    with pytest.raises(ExciteError, match=r"\.png: (has changed since|there is no such file)"):
        compute_fingerprints(known, near_duplicates=False, max_pixels=10**8)


def test_two_names_of_one_content_are_read_once(tmp_path: Path) -> None:
    place = tmp_path / "images" / "a"
    place.mkdir(parents=True)
    for name in ("one", "two", "three"):
        scene(0 if name != "three" else 1, (60, 50)).save(place / f"{name}.png")
    seen: list[tuple[int, int]] = []
    one, three, two = cached_fingerprints(
        checked(place.parent), near_duplicates=False, max_pixels=10**8, progress=lambda *at: seen.append(at)
    )
    assert seen == [(1, 2), (2, 2)]
    assert one is two is not three


def test_a_fingerprint_without_features_is_not_used_in_a_search_with_them(
    known: Manifest, tmp_path: Path
) -> None:
    first = Manifest(known.table[:2], known.classes)
    options = {"max_pixels": 10**8, "cache": tmp_path / "cache"}
    plain = cached_fingerprints(first, near_duplicates=False, **options)
    full = cached_fingerprints(first, near_duplicates=True, **options)
    assert all(one is not None and one.features is None for one in plain)
    assert all(one is not None and one.features is not None for one in full)


def test_an_image_of_few_pixels_has_no_features(tmp_path: Path) -> None:
    place = tmp_path / "images" / "a"
    place.mkdir(parents=True)
    for side in (SMALLEST - 1, 2 * SMALLEST):
        scene(0, (side, 60)).save(place / f"{side}.png")
    small, large = compute_fingerprints(checked(place.parent), near_duplicates=True, max_pixels=10**8)
    assert small.features is None
    assert large.features is not None


def test_without_a_writable_folder_images_are_read_each_time(known: Manifest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    options = {"near_duplicates": False, "max_pixels": 10**8, "cache": tmp_path / "file" / "cache"}
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        assert None not in cached_fingerprints(known, **options, progress=lambda *at: seen.append(at))
    assert len(seen) == 2 * len(known)
