"""Archives: read as the folder that was packed, whoever packed it; nothing is written outside the cache."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import excite
from excite.audit.cached_data import cached_data, empty_cache, prune_cache
from excite.audit.reading import read_images
from excite.data import archives
from excite.data.archives import image_folder, is_archive, unpack
from excite.data.paths import data_name
from excite.data.reading import read_manifest
from excite.errors import ExciteError
from excite.runs.moved_data import open_run
from tests.conftest import Command

PACKED = ("photos.zip", "photos.tar", "photos.tar.gz", "photos.tgz", "photos.tar.bz2", "photos.tar.xz")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("EXCITE_CACHE", str(place))
    return place


def picture(value: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def pack(folder: Path, archive: Path, top: str = "") -> Path:
    """The folder as an archive; ``top`` is a folder around its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [str(Path(top) / path.relative_to(folder)) for path in files]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path, name in zip(files, names, strict=True):
                zipped.write(path, name)
    else:
        mode = {".tar": "", ".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}[archive.suffix]
        with tarfile.open(archive, f"w:{mode}") as packed:
            for path, name in zip(files, names, strict=True):
                packed.add(path, name)
    return archive


def zip_of(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return path


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as packed:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("top", ["", "photos", "downloads/photos"])
def test_an_archive_is_read_as_its_folder(
    tmp_path: Path, pictures: Path, cache: Path, name: str, top: str
) -> None:
    archive = pack(pictures, tmp_path / name, top)
    before = sorted(tmp_path.iterdir())
    manifest, expected = read_manifest(archive), read_manifest(pictures)
    assert manifest.classes == expected.classes
    inner = [str(Path(path).relative_to(pictures)) for path in expected.table["path"]]
    assert [path.endswith(one) for path, one in zip(manifest.table["path"], inner, strict=True)]
    for path, original in zip(manifest.table["path"], expected.table["path"], strict=True):
        assert Path(path).read_bytes() == Path(original).read_bytes()
        assert Path(path).is_relative_to(cache / "archives")
        assert "photos-" in path
    assert sorted(tmp_path.iterdir()) == sorted([*before, cache])
    assert data_name(archive) == "photos"


def test_a_second_reading_unpacks_nothing(
    tmp_path: Path, pictures: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(pictures, tmp_path / "photos.zip")
    first = read_manifest(archive)
    (tmp_path / "elsewhere").mkdir()
    copy = Path(shutil.copy(archive, tmp_path / "elsewhere"))
    monkeypatch.setattr(archives, "_unpack", lambda *_: pytest.fail("it is unpacked already"))
    assert read_manifest(archive).table.equals(first.table)
    assert read_manifest(copy).table.equals(first.table)


def test_a_part_of_the_cache_that_was_removed_is_unpacked_again(
    tmp_path: Path, pictures: Path, cache: Path
) -> None:
    archive = pack(pictures, tmp_path / "photos.zip")
    first = read_manifest(archive)
    Path(first.table["path"][0]).unlink()
    assert read_manifest(archive).table.equals(first.table)
    Path(first.table["path"][0]).write_bytes(b"cut")
    assert Path(read_manifest(archive).table["path"][0]).read_bytes() != b"cut"


def test_another_content_is_another_folder(tmp_path: Path, pictures: Path, cache: Path) -> None:
    archive = pack(pictures, tmp_path / "photos.zip")
    before = unpack(archive, cache).folder
    (pictures / "a" / "new.png").write_bytes(picture(9))
    pack(pictures, archive)
    os.utime(archive, (1, 1))
    after = unpack(archive, cache).folder
    assert after != before
    assert (after / "a" / "new.png").is_file()


def test_one_class_keeps_its_folder_and_images_alone_have_none(tmp_path: Path, cache: Path) -> None:
    one = zip_of(tmp_path / "one.zip", {"ants/1.png": picture(1), "ants/2.png": picture(2)})
    assert read_manifest(one, complete=False).classes == ("ants",)
    flat = zip_of(tmp_path / "flat.zip", {"1.png": picture(1), "2.png": picture(2)})
    assert read_images(flat).classes == ("",)
    assert image_folder(flat) == unpack(flat, cache).folder
    assert image_folder(tmp_path / "x.png") is None


@pytest.mark.parametrize("write", [zip_of, tar_of])
@pytest.mark.parametrize(
    "name",
    ["../x.png", "a/../../x.png", "/etc/x.png", "..\\x.png", "C:/x.png", "c:\\x.png", "//server/x.png"],
)
def test_a_member_outside_is_refused_and_nothing_is_written(
    tmp_path: Path, cache: Path, write: object, name: str
) -> None:
    archive = write(
        tmp_path / ("a.zip" if write is zip_of else "a.tar"), {"a/1.png": picture(), name: picture()}
    )
    with pytest.raises(ExciteError, match="has a file outside of itself") as caught:
        unpack(archive, cache)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.png"))
    assert not list(cache.rglob("*.json"))


def test_links_and_devices_are_counted_and_never_followed(tmp_path: Path, cache: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(3))
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as packed:
        for name, kind in (
            ("a/soft.png", tarfile.SYMTYPE),
            ("a/hard.png", tarfile.LNKTYPE),
            ("a/p.png", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            packed.addfile(info)
        folder = tarfile.TarInfo("b")
        folder.type, folder.linkname = tarfile.SYMTYPE, str(tmp_path)
        packed.addfile(folder)
        inside = tarfile.TarInfo("b/evil.png")  # through the link, if it had been made
        inside.size = len(picture())
        packed.addfile(inside, io.BytesIO(picture()))
    found = unpack(path, cache)
    assert [left.count for left in found.left_out] == [4]
    assert str(found.left_out[0]) == (
        f"4 files were left out because they are links or devices, for example {path}/a/soft.png"
    )
    assert sorted(file.name for file in found.folder.rglob("*.png")) == ["evil.png"]
    assert not (tmp_path / "evil.png").exists()
    zipped = tmp_path / "links.zip"
    with zipfile.ZipFile(zipped, "w") as target:
        link = zipfile.ZipInfo("a/soft.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        target.writestr(link, str(secret))
    assert [left.count for left in unpack(zipped, cache).left_out] == [1]


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_a_bomb_is_refused_before_it_fills_the_disk(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 2**20)
    zeros = bytes(8 * 2**20)
    path = tmp_path / ("bomb.zip" if kind == "zip" else "bomb.tar.gz")
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            target.writestr("a/1.png", zeros)
    else:
        with tarfile.open(path, "w:gz") as target:
            info = tarfile.TarInfo("a/1.txt")  # also where it would not be written
            info.size = len(zeros)
            target.addfile(info, io.BytesIO(zeros))
    with pytest.raises(ExciteError, match=r"would unpack to more than 0\.0 GiB, 100 times"):
        unpack(path, cache)
    assert not list(cache.rglob("*.png"))


def test_a_zip_that_lies_about_its_size_is_stopped(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stated size is checked first, and what is written is counted."""
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 2**20)
    path = tmp_path / "lie.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("a/1.png", bytes(8 * 2**20))
    real = (8 * 2**20).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(real, (4).to_bytes(4, "little")))
    with pytest.raises(ExciteError):
        unpack(path, cache)
    assert not [file for file in cache.rglob("*.png") if file.stat().st_size > 2 * 2**20]


def test_the_header_of_a_tar_cannot_fill_the_memory(tmp_path: Path, cache: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**33
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ExciteError, match="is damaged"):
        unpack(path, cache)


def test_a_full_disk_is_said_before_it_is_full(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zip_of(tmp_path / "a.zip", {"a/1.png": picture()})
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: SimpleNamespace(free=520))
    with pytest.raises(ExciteError, match=r"needs more space than the 0\.0 GiB that are free"):
        unpack(path, cache)


@pytest.mark.parametrize("names", [("a/1.png", "a/1.png"), ("a/1.png", "a//1.png"), ("a/1.png", "./a/1.png")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path: Path, cache: Path, names: tuple[str, str]) -> None:
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as target:
        for number, name in enumerate(names):
            target.writestr(name, picture(number))
    with pytest.raises(ExciteError, match="has two files that would be one here"):
        unpack(path, cache)


def encrypted(path: Path) -> Path:
    """A zip whose member has the flag of encryption."""
    zip_of(path, {"a/1.png": picture()})
    content = bytearray(path.read_bytes())
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + place] |= 1
    path.write_bytes(content)
    return path


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-200])
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda place: encrypted(place / "a.zip"), "is encrypted, such as 'a/1.png'"),
        (lambda place: cut(zip_of(place / "a.zip", {"a/1.png": picture()})), "is damaged or incomplete"),
        (lambda place: cut(tar_of(place / "a.tar", {"a/1.png": os.urandom(20480)})), None),
    ],
)  # fmt: skip
def test_what_cannot_be_unpacked_says_so_in_one_line(
    tmp_path: Path, cache: Path, make: object, message: str | None
) -> None:
    path = make(tmp_path)
    if message is None:  # its end of file blocks are cut off; the rest is there
        path.write_bytes(path.read_bytes()[:8000])
        message = "is damaged or incomplete"
    with pytest.raises(ExciteError, match=message) as caught:
        unpack(path, cache)
    assert str(path) in str(caught.value)
    assert not list(cache.rglob("*.png"))


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar.xz", ".zip", ".tar"])
def test_bytes_that_are_no_archive(tmp_path: Path, cache: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for content in (
        b"",
        b"not an archive at all",
        b"\x1f\x8b\x08" + bytes(40),
        b"BZh9" + bytes(40),
        b"PK\x03\x04",
    ):
        path.write_bytes(content)
        with pytest.raises(ExciteError, match="is damaged"):
            unpack(path, cache)


def test_other_kinds_of_archives_are_named(tmp_path: Path) -> None:
    path = tmp_path / "photos.7z"
    path.write_bytes(b"7z\xbc\xaf")
    with pytest.raises(ExciteError, match=r"kind that is not read \(\.zip, .*unpack it"):
        read_manifest(path)
    assert not is_archive(tmp_path / "missing.zip")


def test_names_in_other_encodings(tmp_path: Path, cache: Path) -> None:
    """UTF-8 without its flag, as on macOS, and code page 437, as on old Windows."""
    path = tmp_path / "names.zip"
    zip_of(path, {"Käfer/1.png": picture(1), "bees/1.png": picture(2)})
    content = bytearray(path.read_bytes())
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.index(magic)
        content[start + place : start + place + 2] = b"\0\0"
    path.write_bytes(content)
    assert read_manifest(path, complete=False).classes == ("Käfer", "bees")
    old = path.read_bytes().replace("Käfer".encode(), b"K\x84fer_")
    path.write_bytes(old)
    os.utime(path, (5, 5))
    assert read_manifest(path, complete=False).classes == ("Käfer_", "bees")
    bad = tar_of(tmp_path / "bad.tar", {"a/1.png": picture()})
    bad.write_bytes(bad.read_bytes().replace(b"a/1.png\0", b"\xff/1.png\0"))
    with pytest.raises(ExciteError):
        read_manifest(bad, complete=False)


def test_what_is_no_image_is_not_unpacked_but_counted(tmp_path: Path, cache: Path) -> None:
    path = zip_of(
        tmp_path / "a.zip",
        {"a/1.png": b"", "b/1.png": b"", "a/run.exe": b"x", "__MACOSX/a/2.png": b"x", ".h/1.png": b"x"},
    )
    manifest = read_manifest(path, complete=False)
    assert [str(left) for left in manifest.left_out] == [
        "1 file was left out because it does not have the extension of an image, "
        f"for example {path}/a/run.exe"
    ]
    assert not list(cache.rglob("run.exe"))


@pytest.mark.parametrize("name", ["con.png", "a:b.png", "dot./1.png", "LPT1"])
def test_names_that_windows_cannot_write_are_refused_there(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = zip_of(tmp_path / "a.zip", {f"a/{name}": picture()})
    from excite.data import archive_members

    monkeypatch.setattr(archive_members.os, "name", "nt")
    with pytest.raises(ExciteError, match="Windows cannot write"):
        list(archive_members.members(path))


def test_the_cache_lists_and_empties_an_archive(tmp_path: Path, pictures: Path, cache: Path) -> None:
    archive = pack(pictures, tmp_path / "photos.zip")
    result = excite.audit(archive, near_duplicates=False)
    [row] = [row for row in cached_data(cache) if row.data]
    assert (row.data, row.exists) == (str(archive), True)
    assert row.content == "archives, checked, duplicates, facts"
    assert row.files > len(result)
    count, size = empty_cache(cache, archive)
    assert count >= len(result)
    assert size > 0
    assert not [row for row in cached_data(cache) if row.data]
    assert not list((cache / "archives").glob("photos-*"))
    assert excite.audit(archive, near_duplicates=False).manifest.table.equals(result.manifest.table)
    assert empty_cache(cache)[0] > len(result)
    assert not (cache / "archives").exists()


def test_unpacked_archives_are_pruned_by_when_they_were_used(
    tmp_path: Path, pictures: Path, cache: Path
) -> None:
    old, new = pack(pictures, tmp_path / "old.zip"), pack(pictures, tmp_path / "new.tar")
    for archive in (old, new):
        unpack(archive, cache)
    note = next((cache / "archives").glob("old-*.json"))
    os.utime(note, (1000, 1000))
    assert prune_cache(cache, older_than=3600)[0] == 60
    assert not list((cache / "archives").glob("old-*"))
    assert next((cache / "archives").glob("new-*.json")).is_file()


def test_two_processes_may_unpack_the_same(tmp_path: Path, pictures: Path, cache: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    archive = pack(pictures, tmp_path / "photos.zip")
    with ThreadPoolExecutor(4) as pool:
        folders = {found.folder for found in pool.map(lambda _: unpack(archive, cache), range(8))}
    assert len(folders) == 1
    assert len(list(folders.pop().rglob("*.png"))) == 60
    assert not [
        path for path in (cache / "archives").iterdir() if path.is_dir() and path.name.startswith(".")
    ]


@pytest.mark.slow
def test_every_command_takes_an_archive(
    tmp_path: Path, pictures: Path, cache: Path, excite_command: Command
) -> None:
    archive = pack(pictures, tmp_path / "photos.tar.gz", "photos")
    options = ["--model", "cifar_resnet20", "--image-size", 16, "--device", "cpu"]
    done = excite_command("train", archive, "--epochs", 1, "--no-near-duplicates", *options)
    assert done.returncode == 0, done.stderr
    work = tmp_path / "work"
    for verb in (
        ("audit", archive, "--no-near-duplicates"),
        ("split", archive, "--out", "split.csv", "--no-near-duplicates"),
        ("evaluate", "runs/photos", archive, "--out", "evaluation"),
        ("predict", "runs/photos", archive, "--out", "predictions.json"),
        ("explain", "runs/photos", archive, "--out", "explanation"),
    ):
        done = excite_command(*verb)
        assert done.returncode == 0, (verb, done.stderr)
    assert (work / "audits" / "photos" / "audit.html").is_file()
    assert len(json.loads((work / "predictions.json").read_text())) == 60
    empty_cache(cache)
    done = excite_command("evaluate", "runs/photos", "--out", "again")
    assert done.returncode == 0, done.stderr
    run = open_run(work / "runs" / "photos")
    assert all(Path(path).is_file() for path in run.predictions["path"])
    assert len(excite.Classifier.load(run).predict(archive)) == 60
