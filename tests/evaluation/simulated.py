"""Simulated predictions, of which any number can be drawn to compute the true metrics."""

from __future__ import annotations

import numpy as np

from excite.evaluation.predictions import Predictions


def simulate(
    random: np.random.Generator,
    groups: int,
    *,
    classes: int = 2,
    size: int = 1,
    alike: float = 0.0,
    signal: float = 1.5,
    positive: float | None = None,
) -> Predictions:
    """Images of groups that have one class, and are easy or hard together.

    Args:
        size: images per group on average; they vary between 1 and 2 size - 1.
        positive: fraction of groups of the last class; None: all classes are equally frequent.
        alike: standard deviation of what a group adds to the signal of all its images.
    """
    sizes = random.integers(1, 2 * size, groups)
    codes = np.repeat(np.arange(groups), sizes)
    if positive is None:
        targets = random.integers(0, classes, groups)[codes]
    else:
        last = random.random(groups) < positive
        targets = np.where(last, classes - 1, random.integers(0, classes - 1, groups))[codes]
    logits = random.normal(size=(len(codes), classes))
    logits[np.arange(len(codes)), targets] += signal + alike * random.normal(size=groups)[codes]
    names = tuple("abcdefgh"[:classes])
    return Predictions(targets, softmax(1.2 * logits), names, codes.astype(str))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def messy(
    random: np.random.Generator, images: int, classes: int, *, present: int = 99, levels: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with ties where ``levels`` are few, and targets of ``present`` classes at most."""
    probabilities = random.integers(1, levels + 1, (images, classes)).astype(np.float64)
    kinds = random.choice(classes, min(present, classes), replace=False)
    return probabilities / probabilities.sum(axis=1, keepdims=True), random.choice(kinds, images)
