"""Names are unchanged on a terminal, in a shell, and in CSV."""

from __future__ import annotations

import csv
import io
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excite.system.text import command_line, csv_text, document_text, printable, shorter_path

EVIL = ["my photos", "$HOME", "it's", 'say "x"', "a\nb\r\tc", "\x1b[2J", "`id`", "-h", "猫 😀", "=1+1"]
EVIL += ["\\", "", "~"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("photo [flickr].png", "photo [flickr].png"),
        ("猫 é שלום 😀", "猫 é שלום 😀"),
        ("\x1b[2Jx\r\n\t", r"\x1b[2Jx\r\n\t"),
        ("a\u200bb\u202ec", r"a\u200bb\u202ec"),
        (os.fsdecode(b"\xff"), r"\udcff"),
    ],
)
def test_every_character_of_a_printed_text_is_visible(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(exclude_categories=[])))
def test_a_printed_text_is_one_line_that_any_terminal_takes(text: str) -> None:
    assert printable(text).isprintable()
    printable(text).encode()


def test_a_shell_reads_the_words_of_a_command_back() -> None:
    words = [*EVIL, os.fsdecode(b"caf\xe9 \xff"), "zero\u200bwidth"]
    printed = command_line("printf", r"%s\0", *words)
    assert printed.isprintable()
    done = subprocess.run(["bash", "-c", printed], capture_output=True, check=True)
    assert list(map(os.fsdecode, done.stdout.split(b"\0")[:-1])) == words


def test_a_path_is_never_taken_for_an_option() -> None:
    words = shlex.split(command_line("predict", Path("-h"), Path("--help/x.png"), "--json", Path("a")))
    assert words == ["predict", "./-h", "./--help/x.png", "--json", "a"]


@given(st.lists(st.lists(st.text(), min_size=2, max_size=3), max_size=4))
def test_csv_is_read_back_as_it_was(rows: list[list[str]]) -> None:
    rows = [[field.replace("\0", "") for field in row] for row in rows]
    assert list(csv.reader(io.StringIO(csv_text(rows), newline=""))) == rows


def test_a_page_keeps_every_character_that_html_allows() -> None:
    assert document_text("a\nb\t<猫>\u200d") == "a\nb\t<猫>\u200d"
    assert document_text("\x1b[2J\udcff") == r"\x1b[2J\udcff"


def test_a_path_below_the_working_directory_is_shown_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shorter_path(tmp_path / "photos" / "1.png") == Path("photos/1.png")
    assert shorter_path("photos/1.png") == Path("photos/1.png")
    assert shorter_path("/x.png") == Path("/x.png")  # ../../x.png would be longer
