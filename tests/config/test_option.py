"""Declarations of options: limits, and values of other types as YAML reads them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from excite.config.option import Limits, option, typed
from excite.errors import BAD_USAGE, ExciteError


@pytest.mark.parametrize(
    ("limits", "value", "message"),
    [
        (Limits(low=1), 0, "x: must be at least 1, got 0"),
        (Limits(high=0.5), 0.6, "x: must be at most 0.5, got 0.6"),
        (Limits(low=0.0), float("nan"), "x: must be at least 0.0, got nan"),
        (Limits(high=1.0), float("nan"), "x: must be at most 1.0, got nan"),
        (Limits(choices=("sgd", "adamw")), "adam", r"x: unknown value 'adam' .did you mean 'adamw'"),
    ],
)
def test_a_value_beyond_the_limits_is_refused_with_name_and_limit(
    limits: Limits, value: Any, message: str
) -> None:
    with pytest.raises(ExciteError, match=message) as raised:
        limits.check("x", value)
    assert raised.value.exit_code == BAD_USAGE


@pytest.mark.parametrize(
    ("limits", "value"),
    [(Limits(low=1, high=3), 1), (Limits(low=1, high=3), 3), (Limits(low=1), None), (Limits(), "anything")],
)
def test_the_limits_themselves_and_an_unset_value_are_allowed(limits: Limits, value: Any) -> None:
    limits.check("x", value)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ("1e-3", float, 0.001),  # YAML 1.1 reads a number without a point as text
        (1, float, 1.0),
        (True, bool, True),
        (None, int | None, None),
        (7, int | None, 7),
        (Path("a/b"), str, "a/b"),
        ({"a": 1}, dict[str, Any], {"a": 1}),
    ],
)
def test_values_get_the_type_of_their_option(value: Any, hint: Any, expected: Any) -> None:
    result = typed("x", value, hint)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (True, int, "must be an integer, got True"),
        (False, float, "must be a number, got False"),
        (1, bool, "must be true or false, got 1"),
        (1.5, int | None, "must be an integer, got 1.5"),
        (None, int, "must be an integer, got None"),
        ("inf", float, "must be a number, got 'inf'"),
        ([1], str, r"must be text, got \[1\]"),
        ([], dict[str, Any], r"must be a mapping, got \[\]"),
    ],
)
def test_a_value_of_another_type_is_refused_with_the_expected_type(
    value: Any, hint: Any, message: str
) -> None:
    with pytest.raises(ExciteError, match=f"^x: {message}$") as raised:
        typed("x", value, hint)
    assert raised.value.exit_code == BAD_USAGE


def test_every_configuration_has_a_mapping_and_a_list_of_its_own() -> None:
    default, several = {"a": 1}, ["x"]

    @dataclass
    class Config:
        options: dict[str, int] = option(default, "Panel", "Help.")
        epochs: int = option(3, "Panel", "Help.", low=1)
        names: list[str] = option(several, "Panel", "Help.", flag="--name")

    first, second = Config(), Config()
    first.options["b"] = 2
    first.names.append("y")
    assert (second.options, default) == ({"a": 1}, {"a": 1})
    assert (second.names, several) == (["x"], ["x"])
    assert fields(Config)[1].metadata == {
        "help": "Help.",
        "panel": "Panel",
        "limits": Limits(low=1),
        "flag": None,
    }
    assert fields(Config)[2].metadata["flag"] == "--name"
