"""Small maps use the fused operators here, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from excite.kernels.dispatch import use_kernels


@pytest.fixture(autouse=True)
def fused_wherever_it_can_be() -> Iterator[None]:
    with use_kernels("on"):
        yield
