"""A file is the old one or the new one, never a part of one, and nothing else is left behind."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from excite.errors import ExciteError
from excite.system import files
from excite.system.files import replacing, sha256_of, write_bytes, write_text


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folders_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "text.txt"
    write_text(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert names_in(path.parent) == ["text.txt"]


def test_others_may_read_it_as_they_may_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "ours", "")
    assert stat.filemode((tmp_path / "ours").stat().st_mode) == stat.filemode(
        (tmp_path / "plain").stat().st_mode
    )


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_block_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, error: type) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as file:  # noqa: PT012
        file.write(b"half of the new")
        raise error
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def full_disk(*arguments: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_one_line_and_the_old_file_stays(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(*((files.os, "fsync") if call == "fsync" else (Path, "replace")), full_disk)
    with pytest.raises(ExciteError, match=r"^.*file: cannot be written: no space left on device$"):
        write_bytes(path, b"new" * 1000)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_a_file_in_the_place_of_a_folder_is_an_error_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExciteError, match="cannot be written"):
        write_text(tmp_path / "file" / "below", "")


def test_two_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as one, replacing(path) as other:
        one.write(b"1" * 1000)
        other.write(b"2" * 1000)
    assert path.read_bytes() in (b"1" * 1000, b"2" * 1000)
    assert names_in(tmp_path) == ["file"]


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    code = (
        "import itertools, pathlib, sys\n"
        "from excite.system.files import write_bytes\n"
        "for number in itertools.count():\n"
        "    write_bytes(pathlib.Path(sys.argv[1]), bytes([number % 256]) * 300_000)\n"
        "    print(number, flush=True)\n"
    )
    path = tmp_path / "file"
    for rest in (0.01, 0.023, 0.037):
        path.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it is there
            time.sleep(rest)  # not for anything: the kill comes at some moment of a later write
            process.send_signal(signal.SIGKILL)
        content = path.read_bytes()
        assert content == content[:1] * 300_000


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"excite" * 100_000)
    assert sha256_of(path) == hashlib.sha256(b"excite" * 100_000).hexdigest()
