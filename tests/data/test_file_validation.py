"""The check names every unreadable file, changes no file, and runs once per file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from excite.data import file_check
from excite.data.decoding import Inspection
from excite.data.file_validation import UnreadableFile, check_files, require_readable
from excite.data.manifest import Manifest
from excite.data.reading import read_manifest
from excite.errors import ExciteError
from excite.system.parallel import in_threads


def folder(root: Path, images: int = 4) -> Path:
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(images):
            pixels = random.integers(0, 256, (20, 30 + number, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def state(root: Path) -> dict[str, tuple[str, int]]:
    files = [file for file in root.rglob("*") if file.is_file()]
    return {str(f): (hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns) for f in files}


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were opened."""
    opened: list[str] = []
    original = file_check.inspect_file

    def spy(path: str, **options: int) -> Inspection:
        opened.append(path)
        return original(path, **options)

    monkeypatch.setattr(file_check, "inspect_file", spy)
    return opened


def test_hash_and_upright_size_are_filled_in(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (50, 10)).save(root / "a" / "turned.jpg", exif=exif)
    before = state(root)
    seen: list[tuple[int, int]] = []
    made, bad = check_files(read_manifest(root), progress=lambda done, total: seen.append((done, total)))
    assert bad == []
    for row in made.table.itertuples():
        assert row.sha256 == before[row.path][0]
    turned = made.table[made.table["path"].str.endswith("turned.jpg")].iloc[0]
    assert (turned["width"], turned["height"]) == (10, 50)
    assert seen == [(done, 9) for done in range(1, 10)]
    assert state(root) == before


def test_unreadable_files_are_left_out_and_named(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    (root / "a" / "empty.jpg").touch()
    (root / "a" / "page.jpg").write_text("<html>")
    (root / "b" / "cut.png").write_bytes((root / "b" / "0.png").read_bytes()[:900])
    (root / "b" / "gone.png").symlink_to(root / "nowhere.png")
    made, bad = check_files(read_manifest(root), cache=tmp_path / "cache")
    assert made.counts() == {"a": 4, "b": 4}
    assert made.table.index.tolist() == list(range(8))
    reasons = {Path(file.path).name: file.reason for file in bad}
    assert set(reasons) == {"empty.jpg", "page.jpg", "cut.png", "gone.png"}
    assert reasons["empty.jpg"] == "is empty (0 bytes)"
    assert "truncated" in reasons["cut.png"]


def test_an_unchanged_folder_is_not_read_again(tmp_path: Path, examined: list[str]) -> None:
    root = folder(tmp_path / "data")
    (root / "a" / "empty.jpg").touch()
    first = check_files(read_manifest(root), cache=tmp_path / "cache")
    assert len(examined) == 9
    again = check_files(read_manifest(root), cache=tmp_path / "cache")
    assert len(examined) == 9
    assert again[0].table.equals(first[0].table)
    assert again[1] == first[1] == [UnreadableFile(str(root / "a" / "empty.jpg"), "is empty (0 bytes)")]


@pytest.mark.parametrize("change", ["touched", "added", "limit"])
def test_any_changed_file_is_checked_again(tmp_path: Path, examined: list[str], change: str) -> None:
    root = folder(tmp_path / "data")
    check_files(read_manifest(root), cache=tmp_path / "cache")
    examined.clear()
    options = {}
    if change == "touched":
        Image.new("RGB", (3, 3)).save(root / "a" / "0.png")
    if change == "added":
        Image.new("RGB", (3, 3)).save(root / "a" / "new.png")
    if change == "limit":
        options["max_pixels"] = 20 * 31
    made, bad = check_files(read_manifest(root), cache=tmp_path / "cache", **options)
    assert examined
    assert len(bad) == (4 if change == "limit" else 0)
    assert len(made) + len(bad) == (9 if change == "added" else 8)


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "other files", "no hash"])
def test_with_a_damaged_cache_the_check_is_repeated(tmp_path: Path, examined: list[str], damage: str) -> None:
    root = folder(tmp_path / "data")
    first, _ = check_files(read_manifest(root), cache=tmp_path / "cache")
    (memory,) = (tmp_path / "cache" / "checked").glob("*.csv")
    text = memory.read_text()
    lines = text.splitlines()
    broken = {
        "empty": b"",
        "cut": text[: len(text) // 2].encode(),
        "garbage": bytes(range(256)),
        "other files": text.replace("0.png", "9.png").encode(),
        "no hash": "\n".join([lines[0], *(f"{line.split(',')[0]},,3,3," for line in lines[1:])]).encode(),
    }
    memory.write_bytes(broken[damage])
    examined.clear()
    again, bad = check_files(read_manifest(root), cache=tmp_path / "cache")
    assert len(examined) == 8
    assert bad == []
    assert again.table.equals(first.table)


def test_a_class_of_unreadable_files_only_is_refused_with_their_reason(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    for file in (root / "b").iterdir():
        file.write_bytes(b"")
    manifest = read_manifest(root)
    with pytest.raises(
        ExciteError,
        match=r"without the 4 unreadable files, .*'b' has none; unreadable: .*is empty.* and 1 more",
    ):
        check_files(manifest)
    kept, bad = check_files(manifest, complete=False)
    assert (len(kept), len(bad), kept.classes) == (4, 4, ("a", "b"))


def test_too_many_unreadable_files_are_refused() -> None:
    bad = [UnreadableFile(f"/data/{number}.jpg", "is truncated") for number in range(5)]
    require_readable([], 10, 0)
    require_readable(bad, 100, 0.05)
    with pytest.raises(ExciteError, match=r"5 of 99 files are unreadable .*/data/0.jpg is truncated.*2 more"):
        require_readable(bad, 99, 0.05)
    with pytest.raises(ExciteError, match="between 0 and 1") as caught:
        require_readable(bad, 10, 5)
    assert caught.value.exit_code == 2


def test_only_one_batch_is_in_memory_at_once() -> None:
    started: list[int] = []
    results = in_threads(lambda item: started.append(item) or item, range(1000), batch=10)
    for expected, result in enumerate(results):
        assert result == expected
        assert len(started) <= expected + 10


def test_no_images_at_all_cause_no_error() -> None:
    nothing = Manifest(pd.DataFrame({"path": [], "label": []}), ())
    kept, bad = check_files(nothing, complete=False)
    assert (len(kept), bad) == (0, [])
