"""The pixel cache contains the decoded images, is built once, and is complete or missing."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from excite.data import pixel_cache
from excite.data.file_validation import check_files
from excite.data.manifest import Manifest
from excite.data.pixel_cache import cached_pixels
from excite.data.preprocessing import Preprocessing
from excite.data.reading import read_manifest
from excite.data.stored_image import StoredImage
from excite.errors import ExciteError

SMALL = Preprocessing(image_size=16)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    random = np.random.default_rng(0)
    for number in range(24):
        place = tmp_path / "data" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(random.integers(0, 256, (40, 30, 3), dtype=np.uint8))
        image.save(place / f"{number:02d}.png")
    return check_files(read_manifest(tmp_path / "data"))[0]


def built(cache: Path) -> list[Path]:
    return sorted((cache / "pixels").glob("*.npy"))


def leftovers(cache: Path) -> list[Path]:
    return sorted((cache / "pixels").glob(".*"))


def test_row_i_is_picture_i_and_the_files_stay_untouched(tmp_path: Path, manifest: Manifest) -> None:
    files = [Path(path) for path in manifest.table["path"]]
    before = [(hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns) for f in files]
    made = cached_pixels(manifest, SMALL, tmp_path / "cache")
    assert (made.shape, made.dtype, made.flags.writeable) == ((24, 16, 16, 3), np.uint8, False)
    assert isinstance(made, np.memmap)
    for row, file in zip(made, files, strict=True):
        # a 30 x 40 portrait: the middle 30 x 30
        expected = Image.open(file).resize((16, 16), Image.Resampling.BILINEAR, box=(0, 5, 30, 35))
        np.testing.assert_array_equal(row, np.asarray(expected))
    assert before == [(hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns) for f in files]
    assert leftovers(tmp_path / "cache") == []


def test_it_is_built_once(tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    cache = tmp_path / "cache"
    first = cached_pixels(manifest, SMALL, cache, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (24, 24)
    monkeypatch.delattr(pixel_cache, "decode_and_hash")
    np.testing.assert_array_equal(cached_pixels(manifest, SMALL, cache), first)


def test_another_size_fit_order_or_picture_is_another_array(tmp_path: Path, manifest: Manifest) -> None:
    cache = tmp_path / "cache"
    first = np.array(cached_pixels(manifest, SMALL, cache))
    backwards = Manifest(manifest.table[::-1], manifest.classes)
    np.testing.assert_array_equal(cached_pixels(backwards, SMALL, cache), first[::-1])
    assert cached_pixels(manifest, Preprocessing(image_size=8), cache).shape == (24, 8, 8, 3)
    squashed = cached_pixels(manifest, Preprocessing(image_size=16, resize_mode="stretch"), cache)
    assert not np.array_equal(squashed, first)
    normalized = Preprocessing(image_size=16, mean=(0.5,) * 3, std=(0.5,) * 3)  # no matter for pixels
    np.testing.assert_array_equal(cached_pixels(manifest, normalized, cache), first)
    assert len(built(cache)) == 4


@pytest.mark.parametrize("damage", ["cut", "empty", "other shape", "pickle"])
def test_a_damaged_array_is_built_anew(tmp_path: Path, manifest: Manifest, damage: str) -> None:
    cache = tmp_path / "cache"
    first = np.array(cached_pixels(manifest, SMALL, cache))
    (path,) = built(cache)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    if damage == "empty":
        path.write_bytes(b"")
    if damage == "other shape":
        np.save(path, first[:3])
    if damage == "pickle":
        np.save(path, np.array([{"not": "pixels"}], dtype=object))
    np.testing.assert_array_equal(cached_pixels(manifest, SMALL, cache), first)


def test_a_file_that_changed_since_the_check_is_named(tmp_path: Path, manifest: Manifest) -> None:
    path = manifest.table["path"][5]
    Image.new("RGB", (40, 30)).save(path)
    with pytest.raises(ExciteError, match="has changed since it was checked") as caught:
        cached_pixels(manifest, SMALL, tmp_path / "cache")
    assert caught.value.where == path
    assert (built(tmp_path / "cache"), leftovers(tmp_path / "cache")) == ([], [])


def test_unchecked_images_are_refused(tmp_path: Path) -> None:
    raw = Manifest(pd.DataFrame({"path": ["/x.png"], "label": ["a"]}), ("a",))
    with pytest.raises(ExciteError, match="call check_files first"):
        cached_pixels(raw, SMALL, tmp_path)


def test_too_little_space_is_an_error_before_any_work(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100_000, 90_000, 10_000))
    monkeypatch.delattr(pixel_cache, "decode_and_hash")
    needed = f"{24 * 16 * 16 * 3:,}"
    with pytest.raises(ExciteError, match=rf"need {needed} bytes.*disk is full.*EXCITE_CACHE"):
        cached_pixels(manifest, SMALL, tmp_path / "cache")


def test_a_disk_that_fills_up_leaves_nothing_behind(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pixel_cache.decode_row
    count = iter(range(100))

    def fills(file: tuple[StoredImage, str, int], *, preprocessing: Preprocessing) -> np.ndarray:
        if next(count) == 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(file, preprocessing=preprocessing)

    monkeypatch.setattr(pixel_cache, "decode_row", fills)
    with pytest.raises(ExciteError, match="EXCITE_CACHE") as caught:
        cached_pixels(manifest, SMALL, tmp_path / "cache")
    assert str(tmp_path / "cache") in str(caught.value)
    assert (built(tmp_path / "cache"), leftovers(tmp_path / "cache")) == ([], [])


BUILDER = """
import hashlib, pathlib, signal, sys
from excite.data.pixel_cache import cached_pixels
from excite.data.preprocessing import Preprocessing
from excite.data.reading import read_manifest
from excite.data.stored_image import StoredImage

manifest, cache, stop = read_manifest(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])

def progress(done, total):
    if done == stop:
        print("half way", flush=True)
        signal.pause()

print("ready", flush=True)
sys.stdin.readline()
made = cached_pixels(manifest, Preprocessing(image_size=16), cache, progress=progress)
print(hashlib.sha256(made.tobytes()).hexdigest(), flush=True)
"""


def start(tmp_path: Path, stop: int = 0) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-c",
        BUILDER,
        str(tmp_path / "manifest.csv"),
        str(tmp_path / "cache"),
        str(stop),
    ]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.mark.slow
def test_two_processes_may_build_it_at_once(tmp_path: Path, manifest: Manifest) -> None:
    manifest.save(tmp_path / "manifest.csv")
    both = [start(tmp_path), start(tmp_path)]
    assert [line(process) for process in both] == ["ready", "ready"]
    for process in both:
        go(process)
    digests = [process.communicate(timeout=300)[0].strip() for process in both]
    made = cached_pixels(manifest, SMALL, tmp_path / "cache")
    assert digests == [hashlib.sha256(made.tobytes()).hexdigest()] * 2
    assert (len(built(tmp_path / "cache")), leftovers(tmp_path / "cache")) == (1, [])


def test_an_interrupted_build_is_repeated(tmp_path: Path, manifest: Manifest) -> None:
    manifest.save(tmp_path / "manifest.csv")
    process = start(tmp_path, stop=12)
    go(process)
    assert [line(process), line(process)] == ["ready", "half way"]
    process.kill()
    process.communicate()
    assert built(tmp_path / "cache") == []
    remains = leftovers(tmp_path / "cache")
    assert remains
    cached_pixels(manifest, Preprocessing(image_size=8), tmp_path / "cache")
    assert all(file.exists() for file in remains)  # it might be another process at work
    old = time.time() - 25 * 3600
    for file in remains:
        os.utime(file, (old, old))
    cached_pixels(manifest, Preprocessing(image_size=9), tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_what_a_killed_build_has_finished_is_not_decoded_again(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = np.array(cached_pixels(manifest, SMALL, tmp_path / "other"))
    monkeypatch.setattr(pixel_cache, "_CHUNK_BYTES", 16 * 16 * 16 * 3)  # two parts
    original, decoded = pixel_cache.decode_row, list[str]()

    def killed(file: tuple[StoredImage, str, int], *, preprocessing: Preprocessing) -> np.ndarray:
        decoded.append(file[0].path)
        if file[0].path == manifest.table["path"][20]:
            raise KeyboardInterrupt
        return original(file, preprocessing=preprocessing)

    with monkeypatch.context() as patch:
        patch.setattr(pixel_cache, "decode_row", killed)
        with pytest.raises(KeyboardInterrupt):
            cached_pixels(manifest, SMALL, tmp_path / "cache")
    assert set(manifest.table["path"][:16]) <= set(decoded)
    decoded.clear()

    def counted(file: tuple[StoredImage, str, int], *, preprocessing: Preprocessing) -> np.ndarray:
        decoded.append(file[0].path)
        return original(file, preprocessing=preprocessing)

    monkeypatch.setattr(pixel_cache, "decode_row", counted)
    np.testing.assert_array_equal(cached_pixels(manifest, SMALL, tmp_path / "cache"), expected)
    assert sorted(decoded) == sorted(manifest.table["path"][16:])
    assert leftovers(tmp_path / "cache") == []


def test_a_full_disk_while_writing_is_an_error_and_no_crash(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExciteError, match="the disk is full"):
        cached_pixels(manifest, SMALL, tmp_path / "cache")
    assert (built(tmp_path / "cache"), leftovers(tmp_path / "cache")) == ([], [])
