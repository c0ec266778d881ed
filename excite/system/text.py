"""Text from users: printable on a terminal, quoted in commands, exact in CSV."""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.cells import cell_len, set_cell_size

_NOT_PLAIN = re.compile(r"[^ -~]+")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: object) -> str:
    r"""The text on one line; characters that cannot be printed, such as ESC, as escapes (``\x1b``)."""
    return _NOT_PLAIN.sub(lambda run: "".join(map(_visible, run[0])), str(text))


def document_text(text: str) -> str:
    """Text for an HTML page; characters that HTML forbids, such as ESC, as escapes."""
    return _FORBIDDEN.sub(lambda match: _visible(match[0]), text)


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def shorten_middle(text: str, width: int) -> str:
    """The text in at most ``width`` columns of a terminal; what is left out in the middle becomes one sign.

    >>> shorten_middle("images/2024/march/patient_17.jpg", 20)
    'images/20…ent_17.jpg'
    """
    if cell_len(text) <= width:
        return text
    head = (width - 1) // 2
    tail = width - 1 - head
    start = len(text)
    while start and cell_len(text[start - 1 :]) <= tail:
        start -= 1
    return f"{set_cell_size(text, head).rstrip()}…{text[start:]}"


def shorter_path(path: str | Path) -> Path:
    """The path relative to the working directory if that is shorter, else the path itself."""
    given = Path(path)
    try:
        relative = Path(os.path.relpath(given))
    except (OSError, ValueError):  # no working directory any more, or another drive
        return given
    return relative if len(str(relative)) < len(str(given)) else given


def command_line(*words: object) -> str:
    """Words joined to a command line, quoted for the shells of this system.

    A ``Path`` that begins with a dash gets ``./``, so that it is not read as an option. For a POSIX shell,
    words with characters that cannot be printed become ``$'...'``, which bash, zsh, and ksh understand.
    """
    if os.name == "nt":
        return subprocess.list2cmdline([_word(word) for word in words])
    return " ".join(_quoted(_word(word)) for word in words)


def _word(word: object) -> str:
    text = str(word)
    return f"./{text}" if isinstance(word, Path) and text.startswith("-") else text


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(map(_shell_escape, word)) + "'"


def _shell_escape(character: str) -> str:
    if character in "'\\":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV with line feeds, from which every field can be read back exactly.

    Each line is written with CRLF first, because ``csv.writer`` quotes a carriage return in a field only if
    the line terminator contains one.
    """
    lines = []
    for row in rows:
        line = io.StringIO(newline="")
        csv.writer(line, lineterminator="\r\n").writerow(row)
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)
