"""Pairs across two sets: copies of known pictures among new ones, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from excite.audit.duplicates.cross_pairs import find_cross_pairs
from excite.audit.duplicates.find import find_pairs
from excite.data.manifest import Manifest
from tests.audit.checked import checked
from tests.audit.duplicates.scenes import cropped, scene

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "turned": lambda picture: picture.rotate(90, expand=True),
    "mirrored": ImageOps.mirror,
    "cropped": cropped,
    "smaller": lambda picture: picture.resize((150, 134)),
    "gray": lambda picture: picture.convert("L").convert("RGB"),
}


@pytest.fixture
def images(tmp_path: Path, known: Manifest) -> Manifest:
    """A copy of each kind of a known picture, two copies of another one, and unrelated pictures."""
    place = tmp_path / "images" / "a"
    place.mkdir(parents=True)
    for seed, (name, change) in enumerate(CHANGES.items()):
        change(scene(seed)).save(place / f"{name}.png")
    (place / "same.png").write_bytes((tmp_path / "known" / "b" / "5.png").read_bytes())
    for name in ("new", "again"):
        scene(90).save(place / f"{name}.png")
    return checked(tmp_path / "images")


def named(known: Manifest, images: Manifest, **options: object) -> dict[str, str]:
    """Stem of each new picture's first counterpart."""
    found = find_cross_pairs(known, images, **options)
    paths, others = known.table["path"], images.table["path"]
    return {Path(others[pair.b]).stem: Path(paths[pair.a]).stem for pair in reversed(found.pairs)}


@pytest.mark.slow
def test_copies_are_paired_with_their_known_picture_and_others_with_none(
    known: Manifest, images: Manifest
) -> None:
    expected = {name: str(seed) for seed, name in enumerate(CHANGES)} | {"same": "5"}
    assert named(known, images) == expected
    assert named(known, images, near_duplicates=False) == {
        k: v for k, v in expected.items() if k != "cropped"
    }


def test_small_pictures_are_compared_across_too(tmp_path: Path) -> None:
    for folder, seeds in (("known", range(4)), ("images", (2, 3, 8))):
        (tmp_path / folder / "a").mkdir(parents=True)
        for seed in seeds:
            picture = scene(seed).resize((36, 36))
            box = (0, 0, 32, 32) if folder == "known" else (1, 1, 33, 33)
            picture.crop(box).save(tmp_path / folder / "a" / f"{seed}.png")
    assert named(checked(tmp_path / "known"), checked(tmp_path / "images")) == {"2": "2", "3": "3"}


@pytest.mark.slow
def test_pairs_are_those_of_the_search_among_all(known: Manifest, images: Manifest) -> None:
    both = checked(Path(known.table["path"][0]).parents[2])  # folders of both, as two classes
    rows = {path: row for row, path in enumerate(both.table["path"])}
    everything = {(both.table["path"][pair.a], both.table["path"][pair.b]) for pair in find_pairs(both)}
    inside = set(known.table["path"])
    wanted = {frozenset(ends) for ends in everything if len(inside & set(ends)) == 1}
    found = find_cross_pairs(known, images).pairs
    assert {frozenset((known.table["path"][p.a], images.table["path"][p.b])) for p in found} == wanted
    assert len(rows) == len(known) + len(images)


@pytest.mark.slow
def test_no_known_file_is_read_twice(
    known: Manifest, images: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find_cross_pairs(known, images, cache=tmp_path / "cache")
    for path in known.table["path"]:
        Path(path).unlink()
    fresh = images.with_columns()
    table = fresh.table.iloc[::-1].reset_index(drop=True)
    again = find_cross_pairs(known, Manifest(table, images.classes), cache=tmp_path / "cache")
    assert again.missing == 0
    ends = {(pair.a, len(table) - 1 - pair.b) for pair in again.pairs}
    assert ends == {(pair.a, pair.b) for pair in first.pairs}
    monkeypatch.setattr("excite.audit.duplicates.cross_pairs.cached_fingerprints", None)
    assert find_cross_pairs(known, images, cache=tmp_path / "cache") == first


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_a_known_file_that_cannot_be_read_is_compared_by_hash(
    known: Manifest, images: Manifest, harm: str
) -> None:
    for row in (0, len(known) - 1):  # "turned" and "same"
        path = Path(known.table["path"][row])
        path.unlink()
        if harm == "changed":
            scene(77).save(path)
    assert find_cross_pairs(known, images).missing == 2
    found = named(known, images)
    assert "turned" not in found
    assert found["same"] == "5"


@pytest.mark.slow
def test_nothing_to_compare_gives_no_pairs(known: Manifest, images: Manifest) -> None:
    nothing = Manifest(known.table[:0], known.classes)
    assert find_cross_pairs(nothing, images).pairs == ()
    assert find_cross_pairs(known, nothing).pairs == ()
    one = Manifest(known.table[:1], known.classes)
    assert [pair.a for pair in find_cross_pairs(one, images).pairs] == [0]
