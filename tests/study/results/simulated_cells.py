"""Cells of a study whose outcomes are known."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import accuracy_score

from excite.evaluation.predictions import Predictions
from excite.study.results.comparisons import Comparison, compare_arms, holm
from excite.study.results.estimates import Cell

CLASSES = ("a", "b")


def cells_of(
    arm: str, right: np.ndarray, *, folds: np.ndarray | None = None, tested: np.ndarray | None = None
) -> list[Cell]:
    """Cells of S seeds and N images from (S, N) of who is right; with folds (S, N), one for each."""
    seeds, images = right.shape
    targets = np.arange(images) % 2
    paths = np.array([f"{n}.png" for n in range(images)], dtype=object)
    found = []
    for seed in range(seeds):
        numbers = (
            [np.arange(images)] if folds is None else [np.flatnonzero(folds[seed] == k) for k in range(5)]
        )
        if tested is not None:
            numbers = [tested[seed]]
        for fold, rows in enumerate(numbers):
            said = np.where(right[seed, rows], targets[rows], 1 - targets[rows])
            told = Predictions(targets[rows], np.eye(2)[said] * 0.8 + 0.1, CLASSES, None, tuple(paths[rows]))
            figures = {"accuracy": accuracy_score(targets[rows], said)}
            train = images - len(rows) if folds is not None or tested is not None else 4 * images
            result = {
                "figures": figures,
                "n": len(rows),
                "train": train,
                "memory": 3,
            }
            found.append(Cell(arm, seed, fold, result, told))
    return found


def outcomes(seed: int, shape: tuple[int, int], share: float = 0.8) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < share


def compared(one: list[Cell], two: list[Cell], folded: bool = False) -> Comparison:
    found = compare_arms([*one, *two], "one", "two", "accuracy", 5 if folded else None, 1)
    assert found is not None
    return holm([found], 1)[0]
