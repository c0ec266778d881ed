"""Means over cells, or over differences of paired cells, with intervals that fit the design."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from excite.errors import ExciteError
from excite.evaluation.folds import corrected_mean
from excite.evaluation.intervals import LEVEL
from excite.evaluation.mrmc import crossed_mean, pseudo_values
from excite.evaluation.power import Simulated, corrected_studies, crossed_studies
from excite.evaluation.predictions import Predictions
from excite.evaluation.ranges import difference_in_range, mean_in_range

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
        """Seed and fold, which paired cells share."""
        return self.seed, self.fold


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval, or the reason why there is none.

    Args:
        value: the mean.
        low, high: the interval.
        p: two-sided p-value of a mean of 0.
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
    cells: Sequence[Cell],
    baseline: Sequence[Cell] | None,
    metric: str,
    folded: bool,
    level: float = LEVEL,
) -> Estimate:
    """The mean of a metric over cells, or of its differences, by the method that fits the design.

    Args:
        cells: the cells of an arm.
        baseline: the cells of another arm with the same seeds and folds, to subtract, or None.
        metric: name in ``metrics.OVERALL``.
        folded: whether the cells are folds.
        level: level of the interval.
    """
    one = folds_by_seed(cells, folded)
    if len(one) >= FEWEST_SEEDS and same_images(one):
        return _crossed(cells, baseline, metric, folded, level)
    return corrected(cells, baseline, metric, folded, level)


def _crossed(
    cells: Sequence[Cell], baseline: Sequence[Cell] | None, metric: str, folded: bool, level: float
) -> Estimate:
    overlap = _ratio(cells) if folded else 0.0
    own = list(folds_by_seed(cells, folded).values())
    before = None if baseline is None else list(folds_by_seed(baseline, folded).values())
    try:
        table = pseudo_values(own, None, metric) if before is None else pseudo_values(before, own, metric)
    except ExciteError as error:
        return Estimate(_mean(cells, baseline, metric), reason=error.what)
    found = crossed_mean(table, overlap=overlap, level=level)
    squares = found.squares

    def studies(seeds: int, alpha: float) -> Simulated:
        return crossed_studies(squares, seeds, overlap=overlap, alpha=alpha)

    if before is not None:
        low, high = difference_in_range(metric, found.low, found.high)
        return Estimate(found.mean, low, high, found.p, "crossed", None, studies)
    quantile = float(stdtrit(squares.degrees, 0.5 + level / 2))
    inside = mean_in_range(metric, found.mean, found.standard_error, quantile, level=level)
    return Estimate(found.mean, inside.low, inside.high, found.p, "crossed", inside.reason, studies)


def corrected(
    cells: Sequence[Cell],
    baseline: Sequence[Cell] | None,
    metric: str,
    folded: bool,
    level: float = LEVEL,
) -> Estimate:
    """The mean by the corrected resampled t-test; arguments as for ``estimate_of``."""
    values = _differences(cells, baseline, metric)
    value = _mean(cells, baseline, metric)
    if not np.isfinite(values).all():
        return Estimate(value, reason=f"{metric} is not defined in every cell")
    one = folds_by_seed(cells, folded)
    if len(values) < 2:
        return Estimate(value, reason="one training does not show the variation between trainings")
    if not folded and same_images(one):
        # With one set of test images, trainings do not vary with the sampling of the images.
        return Estimate(
            value, reason=f"{len(values)} seeds on one set of test images; at least {FEWEST_SEEDS} are needed"
        )
    ratio = image_ratio(cells)
    named = metric if baseline is None else None
    found = corrected_mean(values.tolist(), train=1.0, test=ratio, metric=named, level=level)
    if found.deviation == 0:
        return Estimate(value, reason="the estimate does not vary between cells")
    per_seed = len(values) / len(one)

    def studies(seeds: int, alpha: float) -> Simulated:
        count = max(2, round(seeds * per_seed))
        return corrected_studies(found.deviation, count, ratio, alpha=alpha)

    low, high = found.low, found.high
    if baseline is not None and low is not None and high is not None:
        low, high = difference_in_range(metric, low, high)
    return Estimate(found.mean, low, high, found.p, "corrected", found.reason, studies)


def _differences(cells: Sequence[Cell], baseline: Sequence[Cell] | None, metric: str) -> np.ndarray:
    values = np.array([cell.result["figures"][metric] for cell in cells], dtype=np.float64)
    if baseline is None:
        return values
    return values - np.array([cell.result["figures"][metric] for cell in baseline], dtype=np.float64)


def _mean(cells: Sequence[Cell], baseline: Sequence[Cell] | None, metric: str) -> float:
    return float(_differences(cells, baseline, metric).mean())


def image_ratio(cells: Sequence[Cell]) -> float:
    """Number of test images of a cell over its number of training images, on average."""
    return sum(cell.result["n"] for cell in cells) / sum(cell.result["train"] for cell in cells)


def _ratio(cells: Sequence[Cell]) -> float:
    """Number of test images over the number of other images."""
    n = sum(cell.result["n"] for cell in cells)
    folds = len({cell.fold for cell in cells})
    return 1 / (folds - 1) if folds > 1 and n else 0.0


def folds_by_seed(cells: Sequence[Cell], folded: bool) -> dict[int, list[Predictions]]:
    """The predictions of each seed with all folds, one per fold, in order; without folds, a single one."""
    seeds: dict[int, dict[int, Predictions]] = {}
    for cell in cells:  # with several arms, the last one represents the images
        seeds.setdefault(cell.seed, {})[cell.fold] = cell.predictions
    folds = max(map(len, seeds.values()), default=0) if folded else 1
    return {
        seed: [own[fold] for fold in sorted(own)] for seed, own in sorted(seeds.items()) if len(own) == folds
    }


def same_images(by_seed: Mapping[int, Sequence[Predictions]]) -> bool:
    """Whether all seeds test the same images."""
    return len({frozenset(p for part in own for p in part.paths or ()) for own in by_seed.values()}) == 1
