"""Closes the font files that matplotlib keeps open in its cache."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from matplotlib import font_manager


@pytest.fixture(autouse=True)
def _close_fonts() -> Iterator[None]:
    yield
    font_manager._get_font.cache_clear()  # type: ignore[attr-defined]
