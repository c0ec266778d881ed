"""``excite cache``: whose images the cache holds, and how it is emptied."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import excite
from excite.audit.cached_data import CachedData
from excite.cli import output
from excite.cli.app import run as excite_cli
from excite.runs.evaluate import evaluate_run
from tests.conftest import SMALL, make_pictures


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("EXCITE_CACHE", str(folder))
    return folder


@pytest.fixture
def two_sets(cache: Path, tmp_path: Path) -> tuple[Path, Path]:
    """One set was trained on, the other evaluated and compared with it; the images of the first are gone."""
    first = make_pictures(tmp_path / "first", classes=2, size=(20, 20))
    second = make_pictures(tmp_path / "second", classes=2, size=(22, 22))
    for folder in (first, second):
        for file in folder.rglob("*.png"):  # not the same bytes in both
            pixels = np.array(Image.open(file)) // (2 if folder == first else 1)
            Image.fromarray(pixels).save(file)
    run = excite.train(first, out=str(tmp_path / "run"), epochs=1, quiet=True, **SMALL)
    evaluate_run(run, str(second))
    shutil.rmtree(first)
    return first, second


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert excite_cli(["cache", "list", "--json"]) == 0
    document: dict[str, list[dict[str, object]]] = json.loads(capsys.readouterr().out)
    return document["rows"]


def test_a_cache_knows_whose_images_it_holds_and_forgets_them(
    two_sets: tuple[Path, Path], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = two_sets
    found = rows(capsys)
    owned = {row["data"]: row for row in found if row["data"]}
    of_none = {row["content"] for row in found if not row["data"]}
    assert of_none <= {"compiled kernels", "fingerprints of images of all data sets"}
    assert set(owned) == {str(first), str(second)}
    assert (owned[str(first)]["exists"], owned[str(second)]["exists"]) == (False, True)
    assert "pixels" in str(owned[str(first)]["content"])
    assert excite_cli(["cache", "list"]) == 0
    assert f"excite cache empty {first}" in capsys.readouterr().out
    before = {file for file in cache.rglob("*") if file.is_file()}
    assert excite_cli(["cache", "empty", str(first)]) == 0
    gone = before - {file for file in cache.rglob("*") if file.is_file()}
    assert {file.parent.name for file in gone} >= {"pixels", "checked"}
    capsys.readouterr()
    assert {row["data"] for row in rows(capsys) if row["data"]} == {str(second)}
    hashes = {sha256(file.read_bytes()).hexdigest() for file in second.rglob("*.png")}
    with contextlib.closing(sqlite3.connect(cache / "fingerprints.sqlite")) as database:
        left = {key[-64:] for (key,) in database.execute("SELECT key FROM fingerprints")}
    assert left == hashes
    assert excite_cli(["cache", "empty", str(first)]) == 1
    assert "the cache holds nothing of it" in capsys.readouterr().err


def test_all_is_removed_and_nothing_else(
    two_sets: tuple[Path, Path], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / "mine.txt").write_text("not excite's")
    assert excite_cli(["cache", "empty", "--all"]) == 0
    assert [file.name for file in cache.rglob("*") if file.is_file()] == ["mine.txt"]
    capsys.readouterr()
    assert rows(capsys) == []
    assert excite_cli(["cache", "list"]) == 0
    assert "it is empty" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["empty"], ["empty", "photos", "--all"]])
def test_what_to_remove_must_be_named(
    arguments: list[str], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert excite_cli(["cache", *arguments]) == 2
    assert "needs the folder or archive of a data set, or --all" in capsys.readouterr().err


def test_the_list_fits_80_columns_with_one_line_per_entry(
    cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(Console):
        def __init__(self, **options: object) -> None:
            super().__init__(force_terminal=True, width=80, color_system=None, **options)  # type: ignore[arg-type]

    data = f"/data/{'a long name of a folder ' * 4}"
    entries = [CachedData(data, "checked, duplicates, features, pixels", 9, 10**9, False)]
    monkeypatch.setattr("excite.audit.cached_data.cached_data", lambda _: entries)
    monkeypatch.setattr(output, "Console", Terminal)
    assert excite_cli(["cache", "list"]) == 0
    header, row, *_ = capsys.readouterr().out.splitlines()[1:]
    assert header.split() == ["of", "holds", "files", "MiB"]
    assert len(row) <= 80
    assert row.split()[-2:] == ["9", "953.7"]
    assert "(gone)" in row


def test_pruning_removes_the_least_recently_used(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cache / "pixels").mkdir(parents=True)
    day = 24 * 3600.0
    for days in (1, 10, 40, 50):
        file = cache / "pixels" / f"{days}.npy"
        file.write_bytes(bytes(1_000_000))
        file.with_name(file.name + ".data").write_text("/photos")
        os.utime(file, (time.time() - days * day,) * 2)
    (cache / "kernels").mkdir()
    (cache / "kernels" / "old").write_bytes(bytes(10))
    os.utime(cache / "kernels" / "old", (0, 0))
    assert excite_cli(["cache", "prune", "--days", "45"]) == 0
    assert "removed   1 files, 1.0 MiB" in capsys.readouterr().out
    assert excite_cli(["cache", "prune", "--max-gb", "0.0015"]) == 0
    left = {str(file.relative_to(cache)) for file in cache.rglob("*") if file.is_file()}
    assert left == {"pixels/1.npy", "pixels/1.npy.data", "kernels/old"}
    assert excite_cli(["cache", "prune"]) == 2
