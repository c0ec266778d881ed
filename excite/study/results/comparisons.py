"""Pairs of arms: each difference with its p-value, adjusted for looks and comparisons, and its power."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from excite.errors import ExciteError
from excite.evaluation.comparison import Difference, compare
from excite.evaluation.intervals import LEVEL
from excite.evaluation.mrmc import group_names
from excite.evaluation.power import largest_difference, trainings_needed
from excite.evaluation.predictions import Predictions
from excite.study.results.estimates import (
    FEWEST_SEEDS,
    Cell,
    Estimate,
    corrected,
    estimate_of,
    folds_by_seed,
    image_ratio,
    same_images,
)
from excite.study.results.pair_looks import PairLooks, pair_looks
from excite.study.store.store import Look


@dataclass(frozen=True)
class Comparison:
    """An arm minus its baseline, over the cells that both have.

    Args:
        first, second: names of the baseline and of the arm.
        estimate: the estimate that decides the verdict.
        corrected: the estimate by the corrected resampled t-test.
        swap_test: swaps the predictions of groups, with the trainings fixed.
        units: number of pairs of cells.
        seeds, n, groups: number of seeds, test images and groups.
        looks: the looks that tested this pair; None without a test.
        sequential: p-value, adjusted for the looks.
        holm: p-value, adjusted for the looks and for the number of comparisons of the plan.
        more_seeds: number of further seeds that detect a difference of this size with 80 % power; None: no
            number does.
        smallest: difference that the study detects with 80 % power; infinite: no possible difference.
    """

    first: str
    second: str
    estimate: Estimate
    corrected: Estimate
    swap_test: Difference | None
    units: int
    seeds: int
    n: int
    groups: int
    looks: PairLooks | None = None
    sequential: float | None = None
    holm: float | None = None
    more_seeds: int | None = None
    smallest: float | None = None

    @property
    def significant(self) -> bool:
        """Whether the adjusted p-value is below 0.05."""
        return self.holm is not None and self.holm < 1 - LEVEL


def compare_arms(
    cells: Sequence[Cell],
    one: str,
    two: str,
    metric: str,
    folds: int | None,
    count: int,
    looks: Sequence[Look] = (),
) -> Comparison | None:
    """An arm minus another one, over the cells that both have finished; None without such cells.

    Args:
        cells: the cells of all arms.
        one, two: names of the baseline and of the arm.
        metric: name in ``metrics.OVERALL``.
        folds: number of folds, or None.
        count: number of comparisons in the plan.
        looks: the looks at the study; without any, the cells are taken for the planned ones.
    """
    first = {cell.unit: cell for cell in cells if cell.arm == one}
    second = {cell.unit: cell for cell in cells if cell.arm == two}
    units = sorted(set(first) & set(second))
    if not units:
        return None
    before, after = [first[unit] for unit in units], [second[unit] for unit in units]
    folded, same = folds is not None, same_images(folds_by_seed(before, folds is not None))
    own_looks = pair_looks(
        looks,
        one,
        two,
        len(units),
        fewest=FEWEST_SEEDS if same and not folded else 2,
        folds=folds or 1,
        # Folds share less than the ratio of their images says: without it, the levels are conservative.
        shared=0.0 if same or folded else image_ratio(before),
    )
    estimate = estimate_of(after, before, metric, folded, level=1 - own_looks.level(1 - LEVEL))
    stacked = _stacked(before), _stacked(after)
    try:
        swap_test = compare(*stacked, [metric])[metric]
    except ExciteError:
        swap_test = None
    seeds = len({seed for seed, _ in units})
    more, smallest = _power(estimate, metric, seeds, own_looks, (1 - LEVEL) / count)
    return Comparison(
        one,
        two,
        estimate,
        corrected(after, before, metric, folded),
        swap_test,
        len(units),
        seeds,
        len({path for cell in before for path in cell.predictions.paths or ()}),
        len(set(stacked[0].groups if stacked[0].groups is not None else ())),
        None if estimate.p is None else own_looks,
        None if estimate.p is None else own_looks.adjusted(estimate.p),
        more_seeds=more,
        smallest=smallest,
    )


def _power(
    estimate: Estimate, metric: str, seeds: int, seen: PairLooks, alpha: float
) -> tuple[int | None, float | None]:
    """The number of further seeds that detect this difference, and the smallest difference detected now.

    Args:
        alpha: level of all looks at this pair together.
    """
    if estimate.studies is None:
        return None, None
    studies = estimate.studies
    smallest = studies(seeds, seen.level(alpha)).smallest()
    if smallest > largest_difference(metric):
        smallest = math.inf
    if not estimate.value:
        return None, smallest
    needed = trainings_needed(estimate.value, lambda s: studies(s, seen.level_with(s, alpha)), seeds + 1)
    return None if needed is None else needed - seeds, smallest


def _stacked(cells: Sequence[Cell]) -> Predictions:
    """The predictions of all cells as one table; all predictions of an image belong to one group."""
    parts = [cell.predictions for cell in cells]
    groups = np.concatenate([group_names(part) for part in parts])
    paths = tuple(f"{cell.seed} {path}" for cell in cells for path in cell.predictions.paths or ())
    targets = np.concatenate([part.targets for part in parts])
    probabilities = np.concatenate([part.probabilities for part in parts])
    return Predictions(targets, probabilities, parts[0].classes, groups, paths)


def holm(comparisons: Sequence[Comparison], planned: int) -> list[Comparison]:
    """The comparisons with p-values adjusted for the number of comparisons in the plan (Holm 1979).

    Planned comparisons without a p-value count, too: they will get one, and the others must not change then.
    """
    order = sorted(
        (number for number, one in enumerate(comparisons) if one.sequential is not None),
        key=lambda number: comparisons[number].sequential or 0.0,
    )
    adjusted, largest = list(comparisons), 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, (planned - rank) * (comparisons[number].sequential or 0.0)))
        adjusted[number] = dataclasses.replace(comparisons[number], holm=largest)
    return adjusted
