"""An error states where, what, and what to do, on one line."""

from __future__ import annotations

import pickle

import pytest

from excite.errors import BAD_USAGE, FAILED, ExciteError, unknown_name


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ({}, "went wrong"),
        ({"where": "a.png"}, "a.png: went wrong"),
        ({"hint": "try again"}, "went wrong (try again)"),
        ({"where": 3, "hint": "try again"}, "3: went wrong (try again)"),
    ],
)
def test_it_reads_where_what_and_what_to_do(parts: dict[str, object], line: str) -> None:
    error = ExciteError("went wrong", **parts)
    assert str(error) == line
    assert error.exit_code == FAILED == 1


def test_it_crosses_from_one_process_to_another_whole() -> None:
    error = pickle.loads(pickle.dumps(ExciteError("w", where="x", hint="h", exit_code=BAD_USAGE)))  # noqa: S301
    assert (error.what, error.where, error.hint, error.exit_code) == ("w", "x", "h", 2)
    assert str(error) == "x: w (h)"


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("epoch", ["epochs", "lr"], "did you mean 'epochs'?"),
        ("zzz", ["one", "two"], "known: one, two"),
        (7, ["one", "two"], "known: one, two"),
        ("zzz", map(str, range(100, 120)), "20 are known, for example 100, 101, 102, 103, 104"),
    ],
)
def test_an_unknown_name_gets_the_nearest_match_or_the_choice(name: object, known: object, hint: str) -> None:
    error = unknown_name("option", name, known, where="here")
    assert str(error) == f"here: unknown option {name!r} ({hint})"
    assert error.exit_code == BAD_USAGE
