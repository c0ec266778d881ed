"""Lines, tables, and JSON: names as they are, control characters as escapes, and nothing is cut."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from excite.cli import output
from excite.cli.output import plain_table, print_error, print_json, print_line, print_sentence, print_table

STRANGE = "[bold]x[/bold] :cat: $y$ \x1b[2J\u200b\n\x9b"
SHOWN = r"[bold]x[/bold] :cat: $y$ \x1b[2J\u200b\n\x9b"
LONG = " ".join(f"word{number}" for number in range(60))


class Terminal(Console):
    """A terminal of forty columns."""

    def __init__(self, **options: object) -> None:
        super().__init__(force_terminal=True, width=40, color_system=None, **options)  # type: ignore[arg-type]


def test_a_name_is_one_visible_line_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(STRANGE)
    print_sentence(STRANGE)
    assert capsys.readouterr().out == f"{SHOWN}\n{SHOWN}\n"


def test_a_name_in_a_table_is_one_visible_line_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = plain_table(STRANGE, "n", right=("n",))
    table.add_row(STRANGE, "7")
    print_table(table)
    header, row = capsys.readouterr().out.splitlines()
    assert header.rstrip() == f"{SHOWN}  n"
    assert row.rstrip() == f"{SHOWN}  7"


def test_numbers_are_right_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    table = plain_table("name", "images", right=("images",))
    for name, images in (("a", "5"), ("b", "12,345")):
        table.add_row(name, images)
    print_table(table)
    lines = capsys.readouterr().out.splitlines()
    assert [line[-6:] for line in lines] == ["images", "     5", "12,345"]


def test_in_a_pipe_nothing_is_cut_or_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    table = plain_table("text")
    table.add_row(LONG)
    print_table(table)
    print_sentence(LONG)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == ["text", LONG, LONG]


def test_on_a_terminal_sentences_wrap_between_words_and_cells_anywhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "Console", Terminal)
    print_sentence(LONG)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(line.strip() for line in lines) == LONG
    table = plain_table("path", "n")
    table.add_row("x" * 100, "7")
    print_table(table)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert "".join(lines).count("x") == 100  # folded, not cut


@pytest.mark.parametrize("document", [[], {"a": None, "b": [1.5, True, "猫\udcff\x1b"]}, "x"])
def test_json_is_one_document_that_is_read_back(document: object, capsys: pytest.CaptureFixture[str]) -> None:
    print_json(document)
    text = capsys.readouterr().out
    assert text.endswith("\n")
    assert json.loads(text) == document


@pytest.mark.parametrize(
    ("hint", "lines"),
    [
        (
            "continue with: excite train --resume --out runs/a-long-name",
            ["(continue with: excite train --resume --out runs/a-long-name)"],
        ),
        (
            "restore them, or name the folder that the data is in now",
            ["(restore them, or name the folder that", "the data is in now)"],
        ),
    ],
)
def test_an_error_is_one_line_or_on_a_narrow_terminal_its_hint_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, hint: str, lines: list[str]
) -> None:
    message = "stopped in epoch 15 after 4 steps, with a checkpoint"
    print_error(message, hint)
    assert capsys.readouterr().err == f"excite: {message} ({hint})\n"
    monkeypatch.setattr(output, "Console", Terminal)
    print_error(message, hint)
    start = ["excite: stopped in epoch 15 after 4", "steps, with a checkpoint"]
    assert capsys.readouterr().err.splitlines() == [*start, *lines]
    print_error("no such file", "check")
    assert capsys.readouterr().err == "excite: no such file (check)\n"
