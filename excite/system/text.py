"""Text that comes from users: visible on a terminal, quoted in a command, exact in CSV."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

_NOT_PLAIN = re.compile(r"[^ -~]+")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: object) -> str:
    r"""One line in which every character is visible; others, such as ESC, as escapes (``\x1b``)."""
    return _NOT_PLAIN.sub(lambda run: "".join(map(_visible, run[0])), str(text))


def document_text(text: str) -> str:
    """Text for a page: as it is, but escapes for characters that HTML forbids, such as ESC."""
    return _FORBIDDEN.sub(lambda found: _visible(found[0]), text)


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def command_line(*words: object) -> str:
    """Words as one command that a POSIX shell reads back.

    A ``Path`` that begins with a dash gets ``./``, or it would be read as an option. Words with characters
    that a terminal does not show are written as ``$'...'``, which bash, zsh and ksh read.
    """
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
    """Rows as CSV with line feeds; every field is read back as it was.

    ``csv.writer`` quotes a field with a carriage return only where its own line ends have one.
    """
    lines = []
    for row in rows:
        line = io.StringIO(newline="")
        csv.writer(line, lineterminator="\r\n").writerow(row)
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)
