"""A store of six cells."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.study.store.store import Store
from tests.study.store.small_store import new_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(f"sqlite:///{tmp_path / 'study.db'}")
