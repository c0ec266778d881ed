"""A walk over a folder: each image once, in a fixed order, and only files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from excite.data.decoding import IMAGE_SUFFIXES
from excite.data.folders import beside_class_folders, find_images, list_folder, without_image_names
from excite.data.reading import read_manifest
from excite.errors import ExciteError
from tests.data.files import touch


def test_the_walk_finds_what_os_walk_finds_sorted(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    suffixes = [*sorted(IMAGE_SUFFIXES), ".txt", "", ".JPG", ".png.bak"]
    for number in range(200):
        folders = [f"d{random.integers(3)}" for _ in range(random.integers(4))]
        touch(tmp_path, "/".join([*folders, f"f{number}{suffixes[random.integers(len(suffixes))]}"]))
    everything = sorted(os.path.join(place, name) for place, _, names in os.walk(tmp_path) for name in names)  # noqa: PTH118
    images = [name for name in everything if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    found = find_images(tmp_path)
    assert found.images == images
    assert found.others == [name for name in everything if name not in images]
    assert 0 < len(images) < 200


def test_hidden_files_and_those_of_systems_are_not_there_at_all(tmp_path: Path) -> None:
    touch(tmp_path, ".git/x.png", "__MACOSX/1.png", "@eaDir/1.png", ".hidden.png", "Thumbs.db", "a/1.png")
    found = find_images(tmp_path)
    assert (found.images, found.others) == ([str(tmp_path / "a/1.png")], [])


def test_a_folder_is_entered_once_however_many_links_lead_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to("self")
    (tmp_path / "b/again").symlink_to(tmp_path / "a")
    names = [Path(name).name for name in find_images(tmp_path).images]
    assert sorted(names) == ["1.png", "2.png"]
    entered = {os.path.realpath(tmp_path / "a")}
    assert [Path(name).name for name in find_images(tmp_path, entered=entered).images] == ["2.png"]
    assert os.path.realpath(tmp_path / "b") in entered


def test_pipes_are_left_alone_and_broken_links_are_for_the_check(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert list_folder(tmp_path) == ([], [tmp_path / "gone.png"])


def test_a_name_that_is_not_utf8_is_refused_unless_any_name_will_do(tmp_path: Path) -> None:
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    Path(strange).touch()
    with pytest.raises(ExciteError, match=r"\\xff\.png: the path is not UTF-8"):
        find_images(tmp_path)
    assert find_images(tmp_path, any_name=True).images == [strange]


def test_a_path_that_is_no_folder_is_one_clear_line(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    with pytest.raises(ExciteError, match="file: the folder cannot be read: not a directory"):
        find_images(tmp_path / "file")
    with pytest.raises(ExciteError, match="nowhere: the folder cannot be read: no such file or directory"):
        list_folder(tmp_path / "nowhere")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "b").chmod(0)
    try:
        with pytest.raises(ExciteError, match="b: the folder cannot be read: permission denied"):
            read_manifest(tmp_path)
    finally:
        (tmp_path / "b").chmod(0o700)


def test_left_out_files_are_counted_with_an_example() -> None:
    assert without_image_names([]) == beside_class_folders([]) == ()
    (one,) = without_image_names(["a/notes.txt"])
    assert str(one).startswith("1 file was left out because it does not have the extension of an image")
    (two,) = beside_class_folders(["1.png", "2.png"])
    assert str(two).startswith("2 files were left out because they are outside the class folders")
    assert (one.example, two.example) == ("a/notes.txt", "1.png")
