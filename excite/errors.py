"""The exception type: what went wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

FAILED, BAD_USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143


class ExciteWarning(UserWarning):
    """A warning of excite; the command line prints it as one line, and hides those of libraries."""


class ExciteError(Exception):
    """An error that a user can act on; the command line prints it as one line.

    Args:
        what: what went wrong, in one sentence.
        where: the file, option or step that it happened at.
        hint: what to do next.
        exit_code: exit code of the process: 1 failed, 2 bad usage, 130 interrupted,
            143 terminated.

    >>> print(ExciteError("no such file", where="photos.csv", hint="check the path"))
    photos.csv: no such file (check the path)
    """

    def __init__(
        self, what: str, *, where: object = None, hint: str | None = None, exit_code: int = FAILED
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint
        self.exit_code = exit_code
        super().__init__(str(self))

    @property
    def message(self) -> str:
        """Where and what, without the hint."""
        return f"{self.where}: {self.what}" if self.where else self.what

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def unknown_name(kind: str, name: object, known: Iterable[str], *, where: object = None) -> ExciteError:
    """The error for an unknown name, with the nearest match, or with all names if there are few."""
    choices = sorted(known)
    near = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    if near:
        hint = f"did you mean {near[0]!r}?"
    elif len(choices) <= 12:
        hint = f"known: {', '.join(choices)}"
    else:
        hint = f"{len(choices)} are known, for example {', '.join(choices[:5])}"
    return ExciteError(f"unknown {kind} {name!r}", where=where, hint=hint, exit_code=BAD_USAGE)


def require(holds: bool, rule: str, *, where: str) -> None:
    """Raises: ExciteError with the rule if it does not hold."""
    if not holds:
        raise ExciteError(rule, where=where, exit_code=BAD_USAGE)


def require_utf8(path: Path) -> None:
    """Raises: ExciteError for a path that is not UTF-8, which tables cannot contain."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        hint = "rename it, or use another path"
        shown = os.fsencode(path).decode(errors="backslashreplace")  # so that the message can be encoded
        raise ExciteError("the path is not UTF-8", where=shown, hint=hint, exit_code=BAD_USAGE) from error


def refuse_unknown_options(
    function: Callable[..., Any],
    options: Iterable[str],
    *,
    except_for: Iterable[str] = (),
    where: str,
) -> None:
    """Check the names of options against a signature.

    Args:
        except_for: parameters that are not options.

    Raises:
        ExciteError: for the first unknown name, with the nearest match.
    """
    known = set(inspect.signature(function).parameters) - set(except_for)
    for option in options:
        if option not in known:
            raise unknown_name("option", option, known, where=where)
