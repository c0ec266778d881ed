"""Paths are resolved as by the system, and nothing is written among images."""

from __future__ import annotations

import os
import unicodedata
from contextlib import nullcontext
from pathlib import Path

import pytest

from excite.data.paths import absolute_path, is_same_path, path_on_disk, refuse_inside_data
from excite.errors import BAD_USAGE, ExciteError


def touch(root: Path, *names: str) -> list[str]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return [str(root / name) for name in names]


@pytest.mark.parametrize(
    "path", ["link/../x.png", "link/../../store/x.png", "link/./..//x.png", "link/../../other/link/../x.png"]
)
def test_dots_behind_a_link_are_what_the_system_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    touch(tmp_path, "store/x.png", "store/inner/y.png", "here/x.png", "other/x.png")
    (tmp_path / "here/link").symlink_to(tmp_path / "store/inner")
    (tmp_path / "other/link").symlink_to(tmp_path / "store/inner")
    monkeypatch.chdir(tmp_path / "here")
    assert absolute_path(path).samefile(path)
    assert absolute_path(path).samefile(tmp_path / "store/x.png")
    assert ".." not in absolute_path(path).parts


def test_links_without_dots_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert absolute_path("link/./x.png", tmp_path) == tmp_path / "link/x.png"
    assert absolute_path("gone/../x.png", tmp_path) == tmp_path / "x.png"


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_a_name_is_found_in_the_other_unicode_form(tmp_path: Path, on_disk: str) -> None:
    [path] = touch(tmp_path, unicodedata.normalize(on_disk, "Kätzchen/é.png"))
    for form in ("NFC", "NFD"):
        assert path_on_disk(tmp_path / unicodedata.normalize(form, "Kätzchen/é.png")).samefile(path)
    missing = tmp_path / "Kätzchen" / "ö.png"
    assert path_on_disk(missing) == missing


@pytest.mark.parametrize(
    ("target", "outside"),
    [
        ("photos", "photos-out"),
        ("photos/runs/photos", "runs/photos"),
        ("photos/cat/x", "cat/x"),
        ("link/runs", "runs"),
        ("to-cat/run", "cat/run"),
        ("elsewhere/../photos/run", "run"),
    ],
)
def test_nothing_is_written_in_a_folder_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, outside: str
) -> None:
    touch(tmp_path, "photos/cat/1.png", "photos/dog/1.png", "elsewhere/x")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    (tmp_path / "to-cat").symlink_to(tmp_path / "photos/cat")
    monkeypatch.chdir(tmp_path)
    for data in ("photos", "photos/", "link", str(tmp_path / "photos"), "photos/cat/.."):
        with pytest.raises(ExciteError, match="is inside the data") as caught:
            refuse_inside_data(Path(target), data)
        assert str(caught.value).endswith(f"--out {outside})")
        assert caught.value.exit_code == BAD_USAGE
    refuse_inside_data(Path(outside), "photos")
    monkeypatch.chdir(tmp_path / "photos")
    with pytest.raises(ExciteError, match=r"--out \.\./runs/photos\)"):
        refuse_inside_data(Path("runs/photos"), ".")
    monkeypatch.chdir(tmp_path / "photos/cat")
    with pytest.raises(ExciteError, match=r"--out \.\./\.\./runs/photos\)"):
        refuse_inside_data(Path("runs/photos"), "..")


@pytest.mark.parametrize(
    ("target", "refused"),
    [
        ("runs/table", False),  # beside the table
        ("photos/cat/run", True),
        ("photos/run", True),  # between class folders
        ("photos", True),
        ("linked/run", True),
        ("photos-2/run", False),
    ],
)
def test_the_images_of_a_table_are_protected_too(tmp_path: Path, target: str, refused: bool) -> None:
    images = touch(tmp_path, "photos/cat/1.png", "photos/dog/1.png", "table.csv")[:2]
    (tmp_path / "linked").symlink_to(tmp_path / "photos/dog")
    expected = pytest.raises(ExciteError, match="is inside the data") if refused else nullcontext()
    with expected:
        refuse_inside_data(tmp_path / target, tmp_path / "table.csv", images)


def test_a_table_between_its_class_folders_leaves_room_beside_it(tmp_path: Path) -> None:
    images = touch(tmp_path, "cat/1.png", "dog/1.png", "3.png", "labels.csv")[:3]
    refuse_inside_data(tmp_path / "runs/labels", tmp_path / "labels.csv", images)
    for target in ("cat/run", "dog"):
        with pytest.raises(ExciteError, match="is inside the data"):
            refuse_inside_data(tmp_path / target, tmp_path / "labels.csv", images)


def test_folders_of_two_people_do_not_close_the_one_around_them(tmp_path: Path) -> None:
    images = touch(tmp_path, "me/pictures/1.png", "you/pictures/1.png")
    refuse_inside_data(tmp_path / "me/runs", tmp_path / "elsewhere/table.csv", images)


def test_one_folder_may_be_written_in_many_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("photos")
    monkeypatch.chdir(tmp_path)
    for path in (
        "photos/",
        "./photos",
        str(tmp_path / "photos"),
        "link",
        "link/../photos",
        "other/../photos",
    ):
        assert is_same_path(path, "photos")
    assert not is_same_path("other", "photos")
    monkeypatch.chdir(tmp_path / "other")
    assert is_same_path("../photos", "photos", tmp_path)
    assert os.path.relpath(absolute_path("photos", tmp_path)) == "../photos"
