"""API keys: their file, constant-time comparison, and limits."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from excite.errors import ExciteError
from excite.serving import keys
from excite.serving.keys import VARIABLE, ApiKeys, RateLimits, load_keys
from excite.serving.refusals import RefusedError

ONE, TWO = "a1" * 12, "b2" * 12


def test_keys_are_read_from_a_file_that_others_cannot_read(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# of the clinic\n\nclinic: {ONE}\nlab={TWO}\n")
    file.chmod(0o604)
    with pytest.raises(ExciteError, match="every user"):
        load_keys(str(file))
    file.chmod(0o640)
    found = load_keys(str(file))
    assert found is not None
    assert [found.name_of(key) for key in (ONE, TWO, ONE[:-1], "", "clé")] == [
        "clinic",
        "lab",
        None,
        None,
        None,
    ]


def test_keys_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert load_keys(None) is None
    monkeypatch.setenv(VARIABLE, f"clinic:{ONE},lab:{TWO}")
    found = load_keys(None)
    assert found is not None
    assert found.name_of(TWO) == "lab"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no API key"),
        ("clinic", "not a line of keys"),
        ("clinic: short", "fewer than"),
        (f"a: {ONE}\na: {TWO}", "twice"),
        (f"a: {ONE}\nb: {ONE}", "twice"),
        (f"a b: {ONE}", "not a line"),
    ],
)
def test_wrong_lines_are_refused_without_showing_the_key(text: str, message: str) -> None:
    with pytest.raises(ExciteError, match=message) as error:
        ApiKeys.parse(text, "keys")
    assert ONE not in str(error.value)


def test_every_key_is_compared_in_constant_time_whichever_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, original = [], hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return original(a, b)

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    found = ApiKeys({f"n{number}": keys._digest(str(number)) for number in range(5)})
    for presented in ("0", "4", "wrong", "x" * 10_000):
        compared.clear()
        found.name_of(presented)
        assert compared == [(32, 32)] * 5


def test_a_key_has_its_own_images_per_minute() -> None:
    now = 0.0
    limits = RateLimits(60, lambda: now)
    limits.take("a", 60)
    with pytest.raises(RefusedError) as refused:
        limits.take("a", 3)
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "3")
    limits.take("b", 10)
    now = 3.0
    limits.take("a", 3)
    with pytest.raises(RefusedError):
        limits.take("a", 1)
    now = 1000.0
    with pytest.raises(RefusedError):
        limits.take("a", 61)
