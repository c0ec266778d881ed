"""Simulated predictions of several labels, in groups."""

from __future__ import annotations

import numpy as np

from excite.evaluation.label_predictions import LabelPredictions

RATES = (0.4, 0.15, 0.3)


def simulated_labels(
    seed: int = 0, *, groups: int = 150, per_group: int = 3, unknown: float = 0.1
) -> LabelPredictions:
    """Labels that are correlated within groups, with probabilities that tell some of it."""
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(groups), per_group)
    severity = random.normal(size=(groups, 1))[codes]
    logits = np.log(np.array(RATES) / (1 - np.array(RATES))) + severity
    logits = logits + 1.5 * random.normal(size=(len(codes), len(RATES)))
    targets = (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    targets[random.random(logits.shape) < unknown] = -1
    scores = 1 / (1 + np.exp(-(logits + random.normal(size=logits.shape))))
    return LabelPredictions(
        targets,
        scores,
        ("mass", "nodule", "effusion"),
        groups=np.array([f"g{code}" for code in codes]),
        paths=tuple(f"{row}.png" for row in range(len(codes))),
        thresholds=np.array([0.4, 0.25, 0.5]),
    )
