"""What no backend changes is looked at once, where it is quickest."""

from __future__ import annotations

import pytest

from .processes import run_checks


@pytest.mark.slow
def test_published_sizes_and_the_networks_of_keras_applications() -> None:
    run_checks("torch", "once_*.py")
