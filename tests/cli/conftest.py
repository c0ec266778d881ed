"""A run that the tests of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

# Imported here: libraries change the environment and draw when they are first imported.
from excite.api import train
from tests.conftest import make_pictures

# A network that learns these pictures in a moment.
SMALL: dict[str, Any] = {
    "model": "densenet_bc_40_12",
    "model_options": {"block_config": [1, 1], "growth_rate": 4, "init_channels": 4},
    "image_size": 16,
    "batch_size": 8,
    "near_duplicates": False,
    "device": "cpu",
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``pictures`` and ``run``, a run trained on them."""
    place = tmp_path_factory.mktemp("cli")
    make_pictures(place / "pictures")
    train(place / "pictures", out=str(place / "run"), epochs=2, quiet=True, **SMALL)
    return place
