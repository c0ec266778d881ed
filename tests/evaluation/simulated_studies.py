"""Differences of two arms over seeds and images, equal or with a planted difference."""

from __future__ import annotations

import numpy as np


def simulated(random: np.random.Generator, delta: float, seeds: int = 5, images: int = 200) -> np.ndarray:
    """(S, N) differences of correct predictions: images differ in difficulty, also between arms, and
    trainings in quality."""
    hard = random.normal(0.8, 1.0, images)
    sides = []
    for shift in (0.0, delta):
        own = hard + random.normal(0, 0.5, images) + shift
        level = own + random.normal(0, 0.15, (seeds, 1)) + random.normal(0, 0.3, (seeds, images))
        sides.append((random.normal(size=(seeds, images)) < level).astype(float))
    return sides[1] - sides[0]
