"""Closes the databases that a test has opened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.study.store.database import Database


@pytest.fixture(autouse=True)
def _close_databases(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    opened: list[Database] = []
    initialize = Database.__init__

    def recorded(self: Database, url: str, *, patience: float = 300.0) -> None:
        initialize(self, url, patience=patience)
        opened.append(self)

    monkeypatch.setattr(Database, "__init__", recorded)
    yield
    for database in opened:
        database.close()
