"""Terminals and pipes of any encoding; warnings of libraries stay off them."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Callable

import pytest

from excite.cli.output import plain_table, print_json, print_line, print_table
from excite.cli.streams import LOOKALIKES, quiet_libraries, write_data, write_lookalikes
from excite.errors import ExciteWarning


class Stream(io.TextIOWrapper):
    """Standard output of an encoding, into memory."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict", newline="")

    def written(self) -> bytes:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue()


ENCODINGS = pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "utf-16"])


@pytest.fixture
def standard_output(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Stream]:
    """Puts a stream of an encoding in the place of standard output."""

    def use(encoding: str) -> Stream:
        stream = Stream(encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        write_lookalikes()
        return stream

    return use


@ENCODINGS
def test_what_cannot_be_encoded_is_replaced(encoding: str, standard_output: Callable[[str], Stream]) -> None:
    stream = standard_output(encoding)
    print_line("猫 \udcff é 😀")
    table = plain_table("犬 [b]")
    table.add_row("猫[/b]")
    print_table(table)
    text = stream.written().decode(encoding)
    if encoding.startswith("utf"):
        assert text.split("\n")[0].rstrip("\r") == r"猫 \udcff é 😀"
        assert "猫[/b]" in text
    else:
        assert r"\u732b" in text
        assert r"\u732b[/b]" in text


def test_symbols_of_excite_have_ascii_replacements() -> None:
    write_lookalikes()
    stream = Stream("ascii")
    stream.reconfigure(errors="excite.lookalikes")
    stream.write("".join(LOOKALIKES))
    assert stream.written().decode() == "".join(LOOKALIKES.values())


@ENCODINGS
def test_csv_in_a_pipe_is_utf8(encoding: str, standard_output: Callable[[str], Stream]) -> None:
    stream = standard_output(encoding)
    write_data("path,猫\n\udcff,é\n")
    assert stream.written().decode("utf-8") == "path,猫\n\\udcff,é\n"


@ENCODINGS
def test_json_holds_every_name(encoding: str, standard_output: Callable[[str], Stream]) -> None:
    stream = standard_output(encoding)
    document = {"猫": ["\udcff", "😀", "\x85", "é"]}
    print_json(document)
    assert json.loads(stream.written().decode("utf-8")) == document


def test_only_own_warnings_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet_libraries(debug=False):
        warnings.warn("Glyph 29483 missing from font(s)", UserWarning, stacklevel=1)
        warnings.warn("a checkpoint \x1b is damaged", ExciteWarning, stacklevel=1)
        logging.getLogger("matplotlib.font_manager").warning("findfont: no such font")
    assert capsys.readouterr().err == "excite: warning: a checkpoint \\x1b is damaged\n"


def test_debug_shows_warnings_of_libraries(recwarn: pytest.WarningsRecorder) -> None:
    with quiet_libraries(debug=True):
        warnings.warn("from a library", UserWarning, stacklevel=1)
    assert [str(one.message) for one in recwarn] == ["from a library"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_help_is_printed_on_terminals_of_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from excite.cli.app import run

    stream = Stream(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert run(["train", "--help"]) == 0
    assert b"excite train digits" in stream.written()
