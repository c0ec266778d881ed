"""All passes over a data set: its pairs, and their cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from excite.audit.duplicates.find import find_pairs, format_pairs, group_images, parse_pairs
from excite.audit.duplicates.pair import KINDS, Pair
from excite.data.file_validation import check_files
from excite.data.manifest import Manifest
from excite.data.reading import read_manifest
from excite.errors import ExciteError
from tests.audit.duplicates.scenes import cropped, scene


def folder(root: Path, pictures: dict[str, Image.Image]) -> Path:
    for name, picture in pictures.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return root


def checked(root: Path) -> Manifest:
    """Any number of pictures, also too few to train on."""
    paths = sorted(map(str, root.rglob("*.*")))
    table = pd.DataFrame({"path": paths, "label": "x"}, columns=["path", "label"])
    made, bad = check_files(Manifest(table, ("x",)), complete=False)
    assert not bad
    return made


def found_in(root: Path, **options: bool) -> list[Pair]:
    return find_pairs(checked(root), **options)


def test_identical_files_and_pixels_are_told_apart(tmp_path: Path) -> None:
    one, other = scene(0, (80, 70)), scene(1, (80, 70))
    files = {"a/0.png": one, "a/1.png": one, "b/2.bmp": one, "b/3.png": other, "b/4.png": one}
    pairs = found_in(folder(tmp_path / "d", files))
    assert [(pair.a, pair.b, pair.kind) for pair in pairs] == [
        (0, 1, "identical file"),
        (0, 4, "identical file"),
        (0, 2, "identical pixels"),
    ]
    assert all(pair.confidence == 1 and pair.kind in KINDS for pair in pairs)


def test_many_identical_files_make_few_pairs(tmp_path: Path) -> None:
    root = folder(tmp_path / "d", {f"{'ab'[i % 2]}/{i}.png": scene(0, (60, 50)) for i in range(40)})
    pairs = found_in(root)
    assert len(pairs) == 39
    assert len(set(group_images(40, pairs).groups)) == 1


def test_blank_pictures_are_reported_but_join_no_group(tmp_path: Path) -> None:
    blank = {f"a/{i}.png": Image.new("RGB", (60, 60), (i // 2 * 9,) * 3) for i in range(8)}
    root = folder(tmp_path / "d", {**blank, "b/0.png": scene(0), "b/1.png": scene(1)})
    pairs = found_in(root)
    assert {(pair.a, pair.b) for pair in pairs} == {(0, 1), (2, 3), (4, 5), (6, 7)}
    assert all("blank" in pair.evidence for pair in pairs)
    assert len(set(group_images(10, pairs).groups)) == 10


def test_no_images() -> None:
    assert find_pairs(Manifest(pd.DataFrame({"path": [], "label": []}), ("x",))) == []


@pytest.mark.parametrize("count", [1, 2])
def test_few_or_no_images(tmp_path: Path, count: int) -> None:
    root = folder(tmp_path / "d", {f"{'ab'[i]}/{i}.png": scene(i) for i in range(count)})
    assert found_in(root) == []


def test_small_pictures_are_found_without_features(tmp_path: Path) -> None:
    tiny = {f"a/{i}.png": scene(i).resize((32, 32), Image.Resampling.BOX) for i in range(8)}
    copies = {f"b/{i}.jpg": tiny[f"a/{i}.png"].transpose(Image.Transpose.ROTATE_90) for i in range(8)}
    pairs = found_in(folder(tmp_path / "d", {**tiny, **copies}))
    assert {(pair.a, pair.b, pair.kind) for pair in pairs} == {(i, 8 + i, "same picture") for i in range(8)}
    assert all("turned by" in pair.evidence for pair in pairs)


def saved(root: Path, pictures: int = 4) -> Path:
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    for seed in range(pictures):
        scene(seed).save(root / "a" / f"{seed}.png")
        cropped(scene(seed)).save(root / "b" / f"{seed}.jpg")
    return root


@pytest.mark.slow
def test_a_folder_is_searched_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, _ = check_files(read_manifest(saved(tmp_path / "data")))
    stages: dict[str, list[tuple[int, int]]] = {}

    def progress(stage: str) -> Callable[[int, int], None]:
        seen = stages.setdefault(stage, [])
        return lambda done, total: seen.append((done, total))

    found = find_pairs(manifest, cache=tmp_path / "cache", progress=progress)
    assert {(pair.a, pair.b) for pair in found} == {(seed, 4 + seed) for seed in range(4)}
    assert {pair.kind for pair in found} == {"same photo"}
    assert list(stages) == ["reading images", "comparing photos"]
    assert all(seen[-1][0] == seen[-1][1] for seen in stages.values())
    assert find_pairs(manifest, near_duplicates=False) == []

    (memory,) = (tmp_path / "cache" / "duplicates").glob("*.json")
    monkeypatch.setattr("excite.audit.duplicates.fingerprints.decode_and_hash", None)
    assert find_pairs(manifest, cache=tmp_path / "cache") == found
    memory.write_text(memory.read_text()[:-20])
    with pytest.raises(TypeError):  # it is looked at anew
        find_pairs(manifest, cache=tmp_path / "cache")


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_a_file_that_changes_after_the_check_is_named(tmp_path: Path, harm: str) -> None:
    root = saved(tmp_path / "data")
    manifest, _ = check_files(read_manifest(root))
    victim = root / "b" / "2.jpg"
    victim.unlink()
    if harm == "changed":
        scene(99).save(victim)
    with pytest.raises(ExciteError, match=r"2\.jpg: (has changed|there is no such file)"):
        find_pairs(manifest)


def test_unchecked_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match="call check_files first"):
        find_pairs(read_manifest(saved(tmp_path / "data")))


def test_pairs_are_remembered_by_content_and_not_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = {"a/0.png": scene(0, (60, 50)), "a/1.png": scene(0, (60, 50)), "b/2.png": scene(1, (60, 50))}
    (first,) = find_pairs(checked(folder(tmp_path / "d", pictures)), cache=tmp_path / "cache")
    (tmp_path / "d").rename(tmp_path / "elsewhere")
    moved = checked(tmp_path / "elsewhere")
    monkeypatch.setattr("excite.audit.duplicates.fingerprints.decode_and_hash", None)
    assert find_pairs(moved, cache=tmp_path / "cache") == [first]
    with pytest.raises(TypeError):  # the search for the same photo is another one
        find_pairs(moved, near_duplicates=False, cache=tmp_path / "cache")


PAIRS = [Pair(0, 2, "identical file", "the same bytes", 1.0), Pair(1, 2, "same photo", "41 of 55 \x1b", 0.25)]


def test_pairs_are_read_from_their_file_but_not_for_fewer_images() -> None:
    assert parse_pairs(format_pairs(PAIRS), n=3) == PAIRS
    assert parse_pairs(format_pairs(PAIRS), n=2) is None


@pytest.mark.parametrize(
    "change",
    [{"a": 2}, {"a": -1}, {"kind": "same person"}, {"confidence": 1.5}, {"confidence": float("nan")}],
)
def test_a_damaged_pair_is_not_used(change: dict[str, Any]) -> None:
    assert parse_pairs(format_pairs([replace(PAIRS[0], **change)]), n=3) is None
