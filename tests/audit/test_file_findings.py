"""Findings about single files, and counts of the data set against NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excite.audit import file_metadata
from excite.audit.file_findings import FileFindings, unreadable_kind
from excite.data.reading import read_manifest
from tests.audit.checked import inspect
from tests.audit.pictures import noise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of six pictures of 120 x 90 pixels."""
    root = tmp_path / "data"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(6):
            noise(120, 90, number).save(root / name / f"{number}.png")
    return root


def examined(root: Path, **options: object) -> FileFindings:
    return inspect(read_manifest(root, complete=False), **options)[2]


def odd(findings: FileFindings) -> set[tuple[str, str]]:
    return {(Path(file.path).name, file.kind) for file in findings.odd}


def test_an_ordinary_set_has_no_findings(folder: Path) -> None:
    found = examined(folder)
    assert found.bad == ()
    assert found.odd == ()
    assert found.classes == {"a": 6, "b": 6}
    assert found.imbalance == 1
    assert found.sizes == {"distinct": 1, "width": [120] * 3, "height": [90] * 3}
    assert (found.formats, found.modes, found.gray) == ({"PNG": 12}, {"RGB": 12}, 0)


def test_each_unusual_file_has_its_kind(folder: Path) -> None:
    noise(16, 16).save(folder / "a" / "icon.png")
    noise(900, 100).save(folder / "a" / "strip.png")
    lens_cap = 20 + np.random.default_rng(1).normal(0, 2, (90, 120, 3))
    Image.fromarray(lens_cap.astype(np.uint8)).save(folder / "b" / "covered.jpg", quality=90)
    noise(120, 90).save(folder / "b" / "misnamed.jpg", "PNG")
    noise(120, 90).save(folder / "b" / "shouted.JPG", "JPEG")
    assert odd(examined(folder)) == {
        ("icon.png", "tiny"),
        ("strip.png", "extreme aspect"),
        ("covered.jpg", "near-constant"),
        ("misnamed.jpg", "wrong extension"),
    }


def test_a_dark_picture_with_something_on_it_is_not_constant(folder: Path) -> None:
    pixels = np.zeros((300, 300, 3), np.uint8)
    pixels[140:160, 140:160] = 255  # 0.4 % of the picture, as a bright spot in an MRI slice
    Image.fromarray(pixels).save(folder / "a" / "spot.png")
    assert ("spot.png", "near-constant") not in odd(examined(folder))


def test_in_a_set_of_small_pictures_none_is_tiny(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(5):
            noise(8, 8, number).save(tmp_path / name / f"{number}.png")
    noise(3, 3).save(tmp_path / "a" / "less.png")
    assert odd(examined(tmp_path)) == {("less.png", "tiny")}


def test_unreadable_files_have_a_kind(folder: Path) -> None:
    whole = (folder / "a" / "0.png").read_bytes()
    (folder / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "a" / "empty.png").touch()
    (folder / "a" / "page.jpg").write_text("<html>")
    (folder / "b" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    (folder / "b" / "mangled.png").write_bytes(whole[:40] + bytes(20) + whole[60:])
    noise(500, 500).save(folder / "b" / "huge.png")
    kept, facts, found = inspect(read_manifest(folder), max_pixels=200_000)
    kinds = {Path(file.path).name: unreadable_kind(file.reason) for file in found.bad}
    assert kinds == {
        "cut.png": "truncated",
        "empty.png": "empty",
        "page.jpg": "wrong type",
        "phone.heic": "wrong type",
        "mangled.png": "unreadable",
        "huge.png": "too large",
    }
    assert len(kept) == len(facts) == 12
    assert found.classes == {"a": 6, "b": 6}


def test_counts_agree_with_a_count_by_hand(tmp_path: Path) -> None:
    sizes = [(100 + 7 * number, 80 + 3 * number) for number in range(9)]
    for split, part in (("train", sizes[:7]), ("test", sizes[7:])):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
        for number, size in enumerate(part):
            noise(*size).save(tmp_path / split / ("a" if number % 3 else "b") / f"{number}.jpg")
    noise(90, 90).convert("L").save(tmp_path / "train" / "a" / "gray.jpg")
    noise(90, 90).convert("L").convert("RGB").save(tmp_path / "train" / "a" / "gray_rgb.png")
    found = examined(tmp_path)
    widths, heights = np.array([*sizes, (90, 90), (90, 90)]).T
    assert found.sizes["width"] == [widths.min(), np.median(widths), widths.max()]
    assert found.sizes["height"] == [heights.min(), np.median(heights), heights.max()]
    assert found.sizes["distinct"] == 10
    assert found.splits == {"train": {"a": 6, "b": 3}, "test": {"a": 1, "b": 1}}
    assert found.imbalance == 7 / 4
    assert found.formats == {"JPEG": 10, "PNG": 1}
    assert found.modes == {"RGB": 10, "L": 1}
    assert found.gray == 2


def test_a_file_that_vanishes_meanwhile_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = file_metadata.collect_metadata

    def late(manifest: object, **options: object) -> list:
        (folder / "a" / "3.png").unlink(missing_ok=True)
        (folder / "b" / "4.png").write_bytes(b"other")
        return original(manifest, **options)

    monkeypatch.setattr("excite.audit.file_findings.collect_metadata", late)
    kept, facts, found = inspect(read_manifest(folder))
    assert [(Path(file.path).name, file.reason) for file in found.bad] == [
        ("3.png", "changed while it was read"),
        ("4.png", "changed while it was read"),
    ]
    assert len(kept) == len(facts) == 10


def test_metadata_is_read_once_and_again_after_a_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    original = file_metadata.read_file_metadata

    def spy(path: str, **options: object) -> object:
        opened.append(path)
        return original(path, **options)

    monkeypatch.setattr(file_metadata, "read_file_metadata", spy)
    first = examined(folder, cache=tmp_path / "cache")
    assert len(opened) == 12
    assert examined(folder, cache=tmp_path / "cache") == first
    assert len(opened) == 12
    (memory,) = (tmp_path / "cache" / "facts").glob("*.csv")
    memory.write_bytes(memory.read_bytes()[:100])
    assert examined(folder, cache=tmp_path / "cache") == first
    assert len(opened) == 24
    Image.new("RGB", (120, 90)).save(folder / "a" / "0.png")
    assert ("0.png", "near-constant") in odd(examined(folder, cache=tmp_path / "cache"))


def test_a_folder_of_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"")
    kept, facts, found = inspect(read_manifest(tmp_path, complete=False))
    assert (len(kept), facts, len(found.bad)) == (0, (), 1)
    assert found.to_dict()["imbalance"] == 0
