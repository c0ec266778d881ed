"""Small maps go through the operators here, too: speed is not what is tested."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from excite.kernels.dispatch import use_kernels


@pytest.fixture(autouse=True)
def fused_wherever_it_can_be() -> Iterator[None]:
    with use_kernels("on"):
        yield
