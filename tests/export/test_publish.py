"""A finished file gets its name without replacing another one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from excite.errors import ExciteError
from excite.export.publish import unpublished


def test_a_file_appears_at_the_end_of_the_block(tmp_path: Path) -> None:
    place = tmp_path / "new" / "x.onnx"
    with unpublished(place) as temporary:
        temporary.write_text("done")
        assert temporary.name == "x.onnx"
        assert not place.exists()
    assert place.read_text() == "done"
    assert list(place.parent.iterdir()) == [place]


def test_a_folder_appears_at_the_end_of_the_block(tmp_path: Path) -> None:
    with unpublished(tmp_path / "x") as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("done")
    assert (tmp_path / "x" / "a").read_text() == "done"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("folder", [False, True])
def test_of_two_blocks_the_first_that_ends_gets_the_name(tmp_path: Path, folder: bool) -> None:
    def write(temporary: Path, text: str) -> None:
        if folder:
            temporary.mkdir()
        (temporary / "a" if folder else temporary).write_text(text)

    def publish_second() -> None:
        with unpublished(place) as slow:
            with unpublished(place) as fast:
                write(fast, "first")
            write(slow, "second")

    place = tmp_path / "x"
    with pytest.raises(ExciteError, match="exists already"):
        publish_second()
    assert (place / "a" if folder else place).read_text() == "first"
    assert list(tmp_path.iterdir()) == [place]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def fail(error: BaseException) -> None:
        with unpublished(tmp_path / "x") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ExciteError, match="x: cannot be written: no space left"):
        fail(OSError(28, "No space left on device"))
    assert list(tmp_path.iterdir()) == []


def test_links_and_files_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("nowhere")
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "x", tmp_path / "file"):
        with pytest.raises(ExciteError, match="exists already"), unpublished(place):
            raise AssertionError
    with pytest.raises(ExciteError, match="cannot be written: "), unpublished(tmp_path / "file" / "x"):
        raise AssertionError


def test_what_a_killed_export_left_is_removed_after_a_day(tmp_path: Path) -> None:
    old, new = tmp_path / ".excite-export-old", tmp_path / ".excite-export-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "x").write_text("")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    with unpublished(tmp_path / "x") as temporary:
        temporary.write_text("")
    assert not old.exists()
    assert new.exists()
