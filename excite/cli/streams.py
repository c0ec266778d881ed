"""Standard output and error: characters that a stream cannot encode, and warnings of libraries."""

from __future__ import annotations

import codecs
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TextIO

from excite.errors import ExciteWarning
from excite.system.text import printable

LOOKALIKES = {
    "·": ".",
    "\u00d7": "x",
    "°": " degrees",
    "±": "+/-",
    "²": "^2",
    "κ": "kappa",
    "\u2013": "-",
    "—": "-",
    "…": "...",
    "\u2212": "-",
    "▶": ">",
    "✓": "+",
    "✗": "x",
}
"""What excite prints beyond ASCII, for streams that cannot encode it; other characters become escapes."""
QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR", "TF_CPP_MIN_LOG_LEVEL": "3"}
"""Environment variables for libraries that write to the terminal from C++."""


def write_lookalikes() -> None:
    """Let standard output and error replace what they cannot encode, instead of failing."""
    codecs.register_error("excite.lookalikes", _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="excite.lookalikes")


def is_utf8(stream: TextIO) -> bool:
    """Whether a stream can encode everything; one without an encoding can."""
    return codecs.lookup(getattr(stream, "encoding", None) or "utf-8").name == "utf-8"


def write_data(text: str) -> None:
    """Write CSV or JSON to standard output: into a file or a pipe as UTF-8, whatever the locale."""
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None or sys.stdout.isatty():
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    buffer.write(text.encode("utf-8", "backslashreplace"))
    buffer.flush()


@contextmanager
def quiet_libraries(debug: bool) -> Iterator[None]:
    """Print excite's own warnings as one line each; those of libraries only with ``debug``."""
    if debug:
        yield
        return
    unset = QUIET.keys() - os.environ.keys()
    os.environ.update({name: QUIET[name] for name in unset})
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_own
            yield
    finally:
        logging.disable(before)
        for name in unset:
            os.environ.pop(name, None)


def _show_own(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, ExciteWarning):
        print(f"excite: warning: {printable(message)}", file=sys.stderr, flush=True)


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    end = error.start + 1
    character = error.object[error.start]
    return LOOKALIKES.get(character) or character.encode("unicode_escape").decode(), end
