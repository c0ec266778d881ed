"""A run that the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

# Imported here: libraries change the environment and draw when they are first imported.
from excite.api import train
from tests.conftest import SMALL, make_pictures


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``pictures`` and ``run``, a run trained on them."""
    place = tmp_path_factory.mktemp("cli")
    make_pictures(place / "pictures")
    train(place / "pictures", out=str(place / "run"), epochs=2, quiet=True, **SMALL)
    return place
