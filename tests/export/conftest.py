"""A small run, trained once, for all tests of exported files."""

from __future__ import annotations

from pathlib import Path

import pytest

import excite
from excite.runs.run import Run
from tests.conftest import SMALL, make_pictures


def train_small(place: Path, **options: object) -> Run:
    pictures = make_pictures(place / "pictures")
    return excite.train(pictures, out=str(place / "run"), epochs=2, quiet=True, **{**SMALL, **options})


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_small(tmp_path_factory.mktemp("export"))
