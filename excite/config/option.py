"""The declaration of an option: default, help text, group in ``--help``, limits, and type."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excite.errors import BAD_USAGE, ExciteError, unknown_name


@dataclass(frozen=True)
class Limits:
    """The valid values of an option: one of ``choices``, or a number from ``low`` to ``high``."""

    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    def check(self, name: str, value: Any) -> None:
        """Raises: ExciteError for an invalid value, with the option's name and the limit."""
        if value is None:
            return
        if self.choices and value not in self.choices:
            raise unknown_name("value", value, self.choices, where=name)
        if self.low is not None and not value >= self.low:
            raise ExciteError(f"must be at least {self.low}, got {value}", where=name, exit_code=BAD_USAGE)
        if self.high is not None and not value <= self.high:
            raise ExciteError(f"must be at most {self.high}, got {value}", where=name, exit_code=BAD_USAGE)


def option(
    default: Any,
    panel: str,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    flag: str | None = None,
) -> Any:
    """A field of the configuration.

    Args:
        default: the default value; a mapping or a list is copied for each configuration.
        panel: group in ``--help``.
        help: help text.
        choices: the valid values, or none for any.
        low, high: limits of a number, both included.
        flag: on the command line; None: the name of the field.
    """
    metadata = {"help": help, "panel": panel, "limits": Limits(choices, low, high), "flag": flag}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    if isinstance(default, Mapping):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def typed(name: str, value: Any, hint: Any) -> Any:
    """Convert a value to the option's type: YAML reads 1e-3 as text and 1 as an integer."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kind = typing.get_origin(kinds[0]) or kinds[0]
    if kind is str and isinstance(value, Path):
        return str(value)
    if kind is float and not isinstance(value, bool):
        try:
            if math.isfinite(float(value)):
                return float(value)
        except (TypeError, ValueError):
            pass
    elif kind is list:
        if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
            return list(value)
    elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    words = {str: "text", int: "an integer", float: "a number", bool: "true or false", dict: "a mapping"}
    words[list] = "a list of names"
    raise ExciteError(f"must be {words[kind]}, got {value!r}", where=name, exit_code=BAD_USAGE)
