"""Means over cells, or over differences of paired cells, with intervals that fit the design."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from excite.errors import ExciteError
from excite.evaluation.folds import corrected_mean, pool
from excite.evaluation.mrmc import crossed_mean, pseudo_values
from excite.evaluation.power import Simulated, corrected_studies, crossed_studies
from excite.evaluation.predictions import Predictions

FEWEST_SEEDS = 3
"""With fewer trainings on the same images, their variance is unreliable (benchmarks/study_verdicts.py)."""
Unit = tuple[int, int]
"""Seed and fold."""


@dataclass(frozen=True)
class Cell:
    """A finished training: its metrics and its predictions of the test images."""

    arm: str
    seed: int
    fold: int
    result: Mapping[str, Any]
    predictions: Predictions

    @property
    def unit(self) -> Unit:
        return self.seed, self.fold


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval, or the reason why there is none.

    Args:
        value: the mean.
        low, high: the interval.
        p: two-sided p value of a mean of 0.
        method: ``crossed`` or ``corrected``.
        reason: why there is no interval.
        studies: simulates studies with this variance, from a number of seeds and a level.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    method: str = ""
    reason: str | None = None
    studies: Callable[[int, float], Simulated] | None = None


def estimate_of(
    cells: Sequence[Cell], baseline: Sequence[Cell] | None, metric: str, folded: bool
) -> Estimate:
    """The mean of a metric, or of its differences, by the method that fits the design."""
    one = predictions_by_seed(cells, folded)
    two = None if baseline is None else predictions_by_seed(baseline, folded)
    if len(one) >= FEWEST_SEEDS and same_images(one):
        return _crossed(cells, one, two, metric, folded)
    return corrected(cells, baseline, metric, folded)


def _crossed(
    cells: Sequence[Cell],
    by_seed: Mapping[int, Predictions],
    before: Mapping[int, Predictions] | None,
    metric: str,
    folded: bool,
) -> Estimate:
    overlap = _ratio(cells) if folded else 0.0
    own = list(by_seed.values())
    try:
        table = pseudo_values(own, None, metric) if before is None else None
        if before is not None:
            table = pseudo_values(list(before.values()), own, metric)
        assert table is not None
    except ExciteError as error:
        return Estimate(_mean(cells, None, metric), reason=error.what)
    found = crossed_mean(table, overlap=overlap)
    squares = found.squares

    def studies(seeds: int, level: float) -> Simulated:
        return crossed_studies(squares, seeds, overlap=overlap, alpha=level)

    return Estimate(found.mean, found.low, found.high, found.p, "crossed", None, studies)


def corrected(cells: Sequence[Cell], baseline: Sequence[Cell] | None, metric: str, folded: bool) -> Estimate:
    values = _differences(cells, baseline, metric)
    value = _mean(cells, baseline, metric)
    if not np.isfinite(values).all():
        return Estimate(value, reason=f"{metric} is not defined in every cell")
    one = predictions_by_seed(cells, folded)
    if len(values) < 2:
        return Estimate(value, reason="one training does not show the variation between trainings")
    if not folded and same_images(one):
        # With one set of test images, trainings do not vary with the sampling of the images.
        return Estimate(
            value, reason=f"{len(values)} seeds on one set of test images; at least {FEWEST_SEEDS} are needed"
        )
    sizes = [(cell.result["train"], cell.result["n"]) for cell in cells]
    train, test = np.mean(sizes, axis=0)
    found = corrected_mean(values.tolist(), train=float(train), test=float(test))
    if found.deviation == 0:
        return Estimate(value, reason="the estimate does not vary between cells")
    per_seed = len(values) / len(one)

    def studies(seeds: int, level: float) -> Simulated:
        count = max(2, round(seeds * per_seed))
        return corrected_studies(found.deviation, count, float(test / train), alpha=level)

    return Estimate(found.mean, found.low, found.high, found.p, "corrected", None, studies)


def _differences(cells: Sequence[Cell], baseline: Sequence[Cell] | None, metric: str) -> np.ndarray:
    values = np.array([cell.result["figures"][metric] for cell in cells], dtype=np.float64)
    if baseline is None:
        return values
    return values - np.array([cell.result["figures"][metric] for cell in baseline], dtype=np.float64)


def _mean(cells: Sequence[Cell], baseline: Sequence[Cell] | None, metric: str) -> float:
    return float(_differences(cells, baseline, metric).mean())


def _ratio(cells: Sequence[Cell]) -> float:
    """Number of test images over the number of other images."""
    n = sum(cell.result["n"] for cell in cells)
    folds = len({cell.fold for cell in cells})
    return 1 / (folds - 1) if folds > 1 and n else 0.0


def predictions_by_seed(cells: Sequence[Cell], folded: bool) -> dict[int, Predictions]:
    """The pooled predictions of each seed with all folds, sorted by path."""
    seeds: dict[int, list[Cell]] = {}
    for cell in cells:
        seeds.setdefault(cell.seed, []).append(cell)
    folds = max((len({c.fold for c in own}) for own in seeds.values()), default=0) if folded else 1
    found = {}
    for seed, own in sorted(seeds.items()):
        firsts = {cell.fold: cell for cell in own}  # with several arms, the last one represents the images
        if len(firsts) == folds:
            pooled = pool([firsts[fold].predictions for fold in sorted(firsts)])
            found[seed] = pooled.take(np.argsort(np.array(pooled.paths, dtype=object)))
    return found


def same_images(by_seed: Mapping[int, Predictions]) -> bool:
    return len({one.paths for one in by_seed.values()}) == 1
