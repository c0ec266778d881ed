"""The cache folder: its place, and errors if it cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from excite.errors import ExciteError
from excite.system.cache import cache_directory, cache_path


def test_the_environment_variable_sets_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("EXCITE_CACHE", raising=False)
    assert cache_directory() == tmp_path / "xdg" / "excite"
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"
    assert (tmp_path / "own").is_dir()
    (tmp_path / "file").touch()
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(ExciteError, match="set EXCITE_CACHE"):
        cache_directory()


def test_a_path_is_named_without_creating_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "missing"))
    assert cache_path() == tmp_path / "missing"
    assert not cache_path().exists()


def test_the_home_of_an_unknown_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCITE_CACHE", "~no-such-user/cache")
    with pytest.raises(ExciteError, match="set EXCITE_CACHE"):
        cache_path()
