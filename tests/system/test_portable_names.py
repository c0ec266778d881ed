"""Names that every system can write, held against Windows' own rules where Python knows them."""

from __future__ import annotations

import ntpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excite.system.portable_names import portable_name, unportable_reason


@pytest.mark.parametrize(
    "name",
    ["con", "CON", "nul.txt", "com1", "LPT9.tar.gz", "aux ", "a.", "a ", "a:b", "a?b", 'a"b', "a|b", "a\x01"],
)
def test_names_that_windows_cannot_write(name: str) -> None:
    assert unportable_reason(name)
    assert not unportable_reason(portable_name(name))


@pytest.mark.parametrize("name", ["console", "com10", "a.b", "null", "猫", ".hidden", "a b", "auxiliary.txt"])
def test_names_that_it_can(name: str) -> None:
    assert unportable_reason(name) == ""


@given(st.text(max_size=200))
def test_any_text_gives_a_name(text: str) -> None:
    name = portable_name(text)
    assert 0 < len(name) <= 61
    assert not unportable_reason(name)
    assert ntpath.basename(name) == name


@pytest.mark.skipif(not hasattr(ntpath, "isreserved"), reason="needs Python 3.13")
@given(st.text(alphabet="conauxprnlt123. ?b", min_size=1, max_size=8))
def test_the_rules_are_those_of_python(name: str) -> None:
    is_reserved = getattr(ntpath, "isreserved")  # noqa: B009 (types know the lowest version)
    assert bool(unportable_reason(name)) == is_reserved(name) or name in (".", "..")
