"""Closes the database files that a test has opened."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.study.store.database import Database


@pytest.fixture(scope="session", autouse=True)
def _opened() -> Iterator[weakref.WeakSet[Database]]:
    """Every database that is opened, also by fixtures that several tests share."""
    opened: weakref.WeakSet[Database] = weakref.WeakSet()
    initialize = Database.__init__

    def recorded(self: Database, url: str, *, patience: float = 300.0) -> None:
        initialize(self, url, patience=patience)
        opened.add(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "__init__", recorded)
        yield opened


@pytest.fixture(autouse=True)
def _close_databases(_opened: weakref.WeakSet[Database]) -> Iterator[None]:
    yield
    for database in _opened:
        database.close()  # it opens its file again when it is used
