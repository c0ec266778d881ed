"""Fixtures of several tests of near-duplicates."""

from __future__ import annotations

from pathlib import Path

import pytest

from excite.data.manifest import Manifest
from tests.audit.checked import checked
from tests.audit.duplicates.scenes import scene


@pytest.fixture
def known(tmp_path: Path) -> Manifest:
    """Six different pictures in two classes, with the files checked."""
    for seed in range(6):
        place = tmp_path / "known" / "ab"[seed % 2]
        place.mkdir(parents=True, exist_ok=True)
        scene(seed).save(place / f"{seed}.png")
    return checked(tmp_path / "known")
