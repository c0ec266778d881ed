"""Shards hold the images as they are, for any reader of tar files, and are complete or begun."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from excite.audit.file_metadata import collect_metadata
from excite.data import shards
from excite.data.decoding import decode
from excite.data.file_validation import check_files
from excite.data.manifest import Manifest
from excite.data.pixel_cache import cached_pixels
from excite.data.preprocessing import Preprocessing
from excite.data.reading import read_manifest
from excite.data.shard_reading import read_facts
from excite.data.shard_verification import verify_shards
from excite.data.shards import write_shards
from excite.errors import ExciteError
from tests.conftest import make_pictures

SMALL = Preprocessing(image_size=16)
SHARD = 20_000  # bytes: a handful of shards


@pytest.fixture
def written(pictures: Path, tmp_path: Path) -> Path:
    write_shards(read_manifest(pictures), tmp_path / "shards", shard_bytes=SHARD)
    return tmp_path / "shards"


def names(manifest: Manifest) -> list[str]:
    return ["/".join(path.split("/")[-2:]) for path in manifest.table["path"]]


def test_the_images_of_shards_are_those_of_the_folder_in_the_same_order(
    pictures: Path, written: Path, tmp_path: Path
) -> None:
    before, after = read_manifest(pictures), read_manifest(written)
    assert len(list(written.glob("*.tar"))) > 3
    assert names(after) == names(before)
    assert after.classes == before.classes
    for column in ("label", "group", "split", "photo"):
        assert after.table[column].tolist() == before.table[column].tolist()
    for path, place in zip(before.table["path"], after.files(), strict=True):
        assert place.read() == Path(path).read_bytes()
    one, two = check_files(before)[0], check_files(after)[0]
    assert two.table["sha256"].tolist() == one.table["sha256"].tolist()
    assert two.table[["width", "height"]].equals(one.table[["width", "height"]])
    pixels = [cached_pixels(each, SMALL, tmp_path / f"{n}") for n, each in enumerate((one, two))]
    np.testing.assert_array_equal(*pixels)
    assert collect_metadata(one) == collect_metadata(two)


def test_any_reader_of_tar_files_finds_image_and_class(pictures: Path, written: Path) -> None:
    manifest = read_manifest(pictures)
    contents = [Path(path).read_bytes() for path in manifest.table["path"]]
    found = {}
    for shard in sorted(written.glob("*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    targets = manifest.targets()
    expected = {f"{row:09d}.png": content for row, content in enumerate(contents)}
    expected |= {f"{row:09d}.cls": str(target).encode() for row, target in enumerate(targets)}
    assert found == expected


def test_webdataset_reads_them(pictures: Path, written: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    addresses = [str(path) for path in sorted(written.glob("*.tar"))]
    samples = list(webdataset.WebDataset(addresses, shardshuffle=False).decode("rgb8").to_tuple("png", "cls"))
    manifest = read_manifest(pictures)
    assert len(samples) == len(manifest)
    expected = sorted(
        (np.asarray(Image.open(path)).tobytes(), int(target))
        for path, target in zip(manifest.table["path"], manifest.targets(), strict=True)
    )
    assert sorted((pixels.tobytes(), label) for pixels, label in samples) == expected


def test_shards_are_the_same_bytes_each_time_and_mix_the_classes(
    pictures: Path, written: Path, tmp_path: Path
) -> None:
    write_shards(read_manifest(pictures), tmp_path / "again", shard_bytes=SHARD)
    for file in written.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    table = read_manifest(written).table
    assert (table.groupby("shard")["label"].nunique()[:-1] > 1).all()  # the last one may hold one image
    for shard in read_facts(str(written)).shards:
        assert hashlib.sha256((written / shard.name).read_bytes()).hexdigest() == shard.sha256


NAMES = ["a,b.png", 'quote".png', "line\nend.png", "tab\t.png", "back\rhere.png", "ä\u0308 ö.png", ".png.png"]
NAMES += ["=1+1.png", "x.tar", "no extension", "two..dots.JPG", " blank .png", "000000.tar"]


def test_names_hold_any_character(tmp_path: Path) -> None:
    rows = []
    for number, name in enumerate(NAMES):
        for label in ("=c,l\nass", 'x"y'):
            place = tmp_path / "data" / label / "000000.tar"
            place.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 7), (number, len(label), 0)).save(place / name, "PNG")
            rows.append((str(place / name), label, f"g{number}\n,", 'p"'))
    table = pd.DataFrame(rows, columns=["path", "label", "group", "size"])
    before = Manifest(table, tuple(sorted(set(table["label"]))))
    write_shards(before, tmp_path / "shards")
    after = read_manifest(tmp_path / "shards")
    folder = str(tmp_path / "data") + "/"
    assert [path.split("/000000.tar/", 1)[1] for path in after.table["path"]] == [
        path.removeprefix(folder) for path in before.table["path"]
    ]
    assert after.table["label"].tolist() == before.table["label"].tolist()
    assert after.table["group"].tolist() == before.table["group"].tolist()
    assert after.table["size_original"].tolist() == ['p"'] * len(before)
    checked, unreadable = check_files(after)
    assert (len(checked), unreadable) == (len(before), [])
    for path, original in zip(after.table["path"], before.table["path"], strict=True):
        np.testing.assert_array_equal(np.asarray(decode(path)), np.asarray(decode(original)))
    checked.save(tmp_path / "manifest.csv")
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "manifest.csv").table, checked.table)


def test_an_unreadable_image_is_written_too_and_left_out_later(pictures: Path, tmp_path: Path) -> None:
    (pictures / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    write_shards(read_manifest(pictures), tmp_path / "shards")
    reasons = [check_files(read_manifest(place))[1][0].reason for place in (pictures, tmp_path / "shards")]
    assert reasons[0] == reasons[1]


def test_shards_of_shards_are_shards_of_the_folder(written: Path, pictures: Path, tmp_path: Path) -> None:
    write_shards(read_manifest(written), tmp_path / "larger")
    again = read_manifest(tmp_path / "larger")
    assert again.table["shard"].nunique() == 1
    assert names(again) == names(read_manifest(pictures))
    assert verify_shards(str(tmp_path / "larger"))[1] == []


KILLED = """
import os, signal, sys
from pathlib import Path
from excite.data.reading import read_manifest
from excite.data.shards import write_shards

def progress(done, total):
    if done >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

write_shards(read_manifest(sys.argv[1]), Path(sys.argv[2]), shard_bytes=20_000, progress=progress)
"""


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_stopped(
    pictures: Path, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "killed"
    call = [sys.executable, "-c", KILLED, str(pictures), str(out), "30"]
    assert subprocess.run(call, check=False).returncode == -9
    with pytest.raises(ExciteError, match=r"begun.*run excite shard again"):
        read_manifest(out)
    done = {path.stem for path in out.glob(".begun/0*.json")}
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.tar") if path.stem in done}
    assert len(kept) >= 3
    (out / ".000009.tar.leftover.tmp").write_bytes(b"of the killed process")
    write_shards(read_manifest(pictures), out, shard_bytes=SHARD)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in written.iterdir())
    for file in written.iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes()


def test_complete_shards_are_not_written_again(pictures: Path, written: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in written.iterdir()}
    write_shards(read_manifest(pictures), written, shard_bytes=SHARD)
    assert {path: path.stat().st_mtime_ns for path in written.iterdir()} == before


def test_a_folder_with_something_else_is_refused(pictures: Path, written: Path, tmp_path: Path) -> None:
    (pictures / "a" / "p0_0.png").write_bytes((pictures / "a" / "p1_1.png").read_bytes())
    with pytest.raises(ExciteError, match="holds shards of other images"):
        write_shards(read_manifest(pictures), written, shard_bytes=SHARD)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ExciteError, match="exists already"):
        write_shards(read_manifest(pictures), tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_a_full_disk_is_one_line_and_finished_shards_stay(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, count = shards.write_tar, iter(range(100))

    def full(*arguments: object) -> object:
        if next(count) == 3:
            raise OSError(28, "No space left on device")
        return original(*arguments)

    monkeypatch.setattr(shards, "write_tar", full)
    with pytest.raises(ExciteError, match=r"the disk is full.*finished shards are kept"):
        write_shards(read_manifest(pictures), tmp_path / "out", shard_bytes=SHARD)
    assert len(list((tmp_path / "out").glob("*.tar"))) >= 2
    monkeypatch.undo()
    write_shards(read_manifest(pictures), tmp_path / "out", shard_bytes=SHARD)
    assert verify_shards(str(tmp_path / "out"))[1] == []


def test_a_missing_and_a_truncated_shard_are_named(written: Path, tmp_path: Path) -> None:
    harmed = tmp_path / "harmed"
    shutil.copytree(written, harmed)
    shard = harmed / "000001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1000])
    with pytest.raises(ExciteError, match=rf"000001\.tar: the shard is truncated: .* {len(whole):,} bytes"):
        read_manifest(harmed)
    shard.unlink()
    with pytest.raises(ExciteError, match=r"000001\.tar: the shard is missing"):
        read_manifest(harmed)


def test_a_shard_that_vanishes_or_shrinks_after_the_reading_is_named(written: Path) -> None:
    manifest = read_manifest(written)
    shard = written / "000001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:2000])
    with pytest.raises(ExciteError, match=r"000001\.tar: the shard is truncated: it ends before"):
        check_files(manifest)
    shard.unlink()
    with pytest.raises(ExciteError, match=r"000001\.tar: the shard is missing"):
        check_files(manifest)


def test_a_changed_byte_is_named_by_check_and_verification(written: Path) -> None:
    file = read_manifest(written).files()[7]
    shard = Path(file.shard)
    content = bytearray(shard.read_bytes())
    content[file.offset + file.size // 2] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(ExciteError, match="have changed since the shard was written: their SHA-256"):
        check_files(read_manifest(written))
    _, problems = verify_shards(str(written))
    assert [problem.where for problem in problems] == [str(shard)]
    assert file.path in problems[0].what


@pytest.mark.parametrize("file", ["index.csv", "shards.json"])
def test_a_changed_index_is_named(written: Path, file: str) -> None:
    text = (written / file).read_text()
    (written / file).write_text(text.replace("000001", "00001") if file == "index.csv" else text[:-20])
    with pytest.raises(ExciteError, match=rf"{file}: (the index has changed|is damaged)"):
        read_manifest(written)


def test_an_image_is_found_by_its_path_alone(written: Path, tmp_path: Path) -> None:
    manifest = read_manifest(written)
    for path, file in zip(manifest.table["path"][:5], manifest.files()[:5], strict=True):
        np.testing.assert_array_equal(np.asarray(decode(path)), np.asarray(decode(file.read())))
    with pytest.raises(ExciteError, match="cannot be read: not a directory"):
        decode(f"{written}/000000.tar/nothing.png")
    real = make_pictures(tmp_path / "folder.tar", classes=1, each=1)  # a folder may be called so
    assert decode(next((real / "a").iterdir())).size == (24, 20)


def test_a_column_of_the_table_can_be_the_group(pictures: Path, tmp_path: Path) -> None:
    rows = [(str(path), path.parent.name, path.name[1]) for path in sorted(pictures.rglob("*.png"))]
    pd.DataFrame(rows, columns=["path", "label", "patient"]).to_csv(tmp_path / "table.csv", index=False)
    write_shards(read_manifest(tmp_path / "table.csv"), tmp_path / "shards")
    manifest = read_manifest(tmp_path / "shards", group_column="patient")
    assert manifest.table["group"].tolist() == [row[2] for row in rows]
    with pytest.raises(ExciteError, match="unknown column 'patients'"):
        read_manifest(tmp_path / "shards", group_column="patients")
