"""Two classifiers on the same images, equal or one better than the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from excite.evaluation.predictions import Predictions
from tests.evaluation.simulated import simulate, softmax


def pair(
    random: np.random.Generator,
    groups: int,
    *,
    size: int = 1,
    alike: float = 0.0,
    better: float = 0.0,
    positive: float | None = None,
) -> tuple[Predictions, Predictions]:
    """Two classifiers with independent errors; ``better`` is added to the true logits of the second."""
    base = simulate(random, groups, size=size, alike=alike, signal=1.0, positive=positive)
    seen = np.log(base.probabilities)
    picks = np.eye(2)[base.targets]
    codes = base.group_codes
    both = []
    for more in (0.0, better):
        own = random.normal(size=(groups, 2))[codes] * alike + random.normal(size=seen.shape)
        both.append(Predictions(base.targets, softmax(seen + own + more * picks), base.classes, base.groups))
    return both[0], both[1]


IMAGES: dict[str, Any] = {"groups": 200}


GROUPS: dict[str, Any] = {"groups": 60, "size": 4, "alike": 0.8}
