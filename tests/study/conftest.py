"""A study that several tests read, and the closing of database files that a test has opened."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.study.store.database import Database
from excite.study.study import Study
from tests.conftest import make_pictures
from tests.study.small_study import begun
from tests.study.small_study import trained as trained_study


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


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two classes of pictures."""
    return make_pictures(tmp_path_factory.mktemp("data") / "pictures", classes=2)


@pytest.fixture(scope="session")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study with two arms, two seeds, and two folds, all trained."""
    return trained_study(begun(data, tmp_path_factory.mktemp("studies") / "done", folds=2))
