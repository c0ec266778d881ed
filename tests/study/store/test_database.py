"""The database of a study: versions, addresses, and full disks."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

sa = pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.errors import ExciteError
from excite.study.store.store import Store
from tests.study.store.small_store import STUDY, new_store


@pytest.mark.parametrize(("version", "message"), [(1, "an older excite"), (99, "a newer excite")])
def test_the_tables_of_another_version_are_refused(tmp_path: Path, version: int, message: str) -> None:
    """An older store has not recorded the looks at its results; it is left as it is."""
    path = tmp_path / "study.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE excite_schema (version INTEGER PRIMARY KEY)")
        connection.execute(f"INSERT INTO excite_schema VALUES ({version})")
        connection.commit()
    with pytest.raises(ExciteError, match=f"{message}: its tables have version {version}, not "):
        Store(f"sqlite:///{path}")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert names == [("excite_schema",)]


@pytest.mark.slow
def test_a_newer_excites_store_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    new_store(url).close()
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("INSERT INTO excite_schema VALUES (99)")
    with pytest.raises(
        ExciteError, match=r"written by a newer excite: its tables have version 99.*update excite"
    ):
        Store(url)


def test_a_password_is_not_written_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "_prepare", lambda self: None)
    assert Store("postgresql://me:secret@host/db").display_url == "postgresql+psycopg://me@host/db"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "is not the URL of a database"),
        ("mysql://here/there", "unknown store 'mysql'|not installed"),
        ("sqlite:////nowhere/at/all/study.db", "cannot be used: unable to open database file"),
        ("postgresql://localhost:1/x", "cannot be used: .*refused"),
    ],
)
def test_a_store_that_cannot_be_used_is_an_error_with_the_reason(url: str, message: str) -> None:
    with pytest.raises(ExciteError, match=message):
        Store(url)


@pytest.mark.slow
def test_a_full_disk_is_an_error_and_nothing_is_lost(tmp_path: Path) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'study.db'}")
    pages = store.do(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar())
    assert isinstance(pages, int)

    @sa.event.listens_for(store.engine, "begin")
    def little_room(connection: sa.Connection) -> None:  # type: ignore[name-defined]
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")

    lease = store.take(STUDY, "t", "w")
    assert lease is not None
    with pytest.raises(ExciteError, match="the disk is full; nothing is lost"):
        store.finish(STUDY, lease, {}, b"0" * 100_000, b"")
    with sqlite3.connect(tmp_path / "study.db") as connection:
        assert connection.execute("SELECT count(*) FROM excite_results").fetchone() == (0,)
        assert connection.execute("SELECT state FROM excite_cells LIMIT 1").fetchone() == ("running",)
