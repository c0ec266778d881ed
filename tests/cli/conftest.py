"""A run that the tests of several commands use, made once by each worker."""

from __future__ import annotations

from pathlib import Path

import pytest

import excite
from tests.conftest import make_pictures

QUICK = ("--epochs", 2, "--batch-size", 8, "--device", "cpu")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``pictures`` and ``run``, which was trained on them."""
    place = tmp_path_factory.mktemp("cli")
    make_pictures(place / "pictures")
    options = {"epochs": 2, "batch_size": 8, "device": "cpu", "quiet": True}
    excite.train(place / "pictures", out=str(place / "run"), **options)
    return place


def image_of(place: Path) -> Path:
    return place / "pictures" / "b" / "p3_3.png"
