"""What all tests share: small picture folders, a cache of their own, the real data where it is at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REAL_DATA = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests never touch the user's cache; processes that they start share the tests' own."""
    os.environ["EXCITE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip("the real data is not at hand")
    return REAL_DATA


def make_pictures(folder: Path, classes: int = 3, each: int = 20, size: tuple[int, int] = (24, 20)) -> Path:
    """A folder of class folders; each class is noise with a colour of its own, learnt in seconds."""
    random = np.random.default_rng(0)
    for number in range(classes):
        place = folder / "abcdefgh"[number]
        place.mkdir(parents=True)
        for index in range(each):
            pixels = random.integers(0, 120, (size[1], size[0], 3))
            pixels[:, :, number % 3] += 90
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"p{index % 10}_{index}.png")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three classes of twenty pictures, named p<group>_<index>.png with ten groups."""
    return make_pictures(tmp_path / "pictures")


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def excite_command(tmp_path: Path) -> Command:
    """Runs ``python -m excite ...`` in an empty folder, with one thread."""
    place = tmp_path / "work"
    place.mkdir()

    def run(
        *arguments: object, launcher: tuple[str, ...] = (), **options: object
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *launcher, "-m", "excite", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
        return subprocess.run(
            command,
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            **options,
        )

    return run
