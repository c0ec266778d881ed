"""Fixtures of the tests that compare with other libraries."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest


@pytest.fixture
def kept_environment() -> Iterator[None]:
    """Restores environment variables and NumPy's random state, which other libraries change."""
    before, state = dict(os.environ), np.random.get_state()
    yield
    os.environ.clear()
    os.environ.update(before)
    np.random.set_state(state)
