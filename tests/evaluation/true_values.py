"""Metrics of a simulated population, to which intervals of a sample are compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from excite.evaluation.resampling import GroupSums
from tests.evaluation.simulated import simulate

OF_IMAGES: dict[str, Any] = {"groups": 200}


OF_GROUPS: dict[str, Any] = {"groups": 60, "size": 5, "alike": 1.2}


def truth(settings: dict[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    """Metrics of so many groups that their error is negligible."""
    table = GroupSums(simulate(np.random.default_rng(99), **(settings | {"groups": 100_000})))
    return {name: float(table.point().overall[name][0]) for name in names}
