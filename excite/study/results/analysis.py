"""The analysis of a study: each arm with its variation, each pair of arms with its difference and p value."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from excite.errors import ExciteError
from excite.evaluation.comparison import Difference, compare
from excite.evaluation.intervals import LEVEL
from excite.evaluation.power import largest_difference, trainings_needed
from excite.evaluation.predictions import Predictions
from excite.study.results.estimates import (
    Cell,
    Estimate,
    corrected,
    estimate_of,
    predictions_by_seed,
    same_images,
)
from excite.study.study import Study

SAME_IMAGES, NEW_SPLITS = "the same images for each seed", "a new split for each seed"


@dataclass(frozen=True)
class ArmFigures:
    """The metrics of an arm over its cells.

    Args:
        cells: number of finished cells, of ``planned``.
        deviation: standard deviation of the metric between seeds; None for fewer than two seeds.
        memory: peak memory of the process of a cell in bytes, the median over the cells.
    """

    name: str
    baseline: str | None
    cells: int
    planned: int
    estimate: Estimate | None
    deviation: float | None
    parameters: int
    multiply_adds: int
    memory: float | None


@dataclass(frozen=True)
class Comparison:
    """An arm minus its baseline, over the cells that both have.

    Args:
        first, second: names of the baseline and of the arm.
        estimate: the estimate that decides the verdict.
        corrected: the estimate by the corrected resampled t-test.
        bootstrap: resamples groups only, with the trainings fixed.
        units: number of pairs of cells.
        seeds, n, groups: number of seeds, test images and groups.
        holm: p value, adjusted for the number of comparisons.
        level: level that Holm's procedure compares p with.
        more_seeds: number of further seeds that detect a difference of this size with 80 % power; None: no
            number does.
        smallest: difference that the study detects with 80 % power; infinite: no possible difference.
    """

    first: str
    second: str
    estimate: Estimate
    corrected: Estimate
    bootstrap: Difference | None
    units: int
    seeds: int
    n: int
    groups: int
    holm: float | None = None
    level: float = 1 - LEVEL
    more_seeds: int | None = None
    smallest: float | None = None

    @property
    def significant(self) -> bool:
        return self.holm is not None and self.holm < 1 - LEVEL


@dataclass(frozen=True)
class Analysis:
    """The results of a study so far."""

    metric: str
    arms: Sequence[ArmFigures]
    comparisons: Sequence[Comparison]
    cells: Sequence[Cell]
    design: str
    done: int
    planned: int


def analyze(study: Study, metric: str | None = None, baseline: str | None = None) -> Analysis:
    """Read the finished cells of a study and compare its arms.

    Args:
        metric: name in ``plan.METRICS``; None: the metric of the plan.
        baseline: the arm to compare all others with; None: as in the plan.
    """
    metric = metric or study.document["metric"]
    cells = read_cells(study)
    arms, counts = study.arms, study.store.counts(study.name)
    states = study.store.cells(study.name)
    planned = {name: sum(cell.arm == name for cell in states) for name in arms}
    folded = study.folds is not None
    figures = [_arm(name, arms[name], cells, planned[name], metric, folded) for name in arms]
    first = next(iter(arms))
    pairs = [
        (other, name) for name, arm in arms.items() if (other := baseline or arm["baseline"] or first) != name
    ]
    comparisons = [
        comparison
        for one, two in pairs
        if (comparison := compare_arms(cells, one, two, metric, folded, len(pairs))) is not None
    ]
    design = SAME_IMAGES if same_images(predictions_by_seed(cells, folded)) else NEW_SPLITS
    return Analysis(metric, figures, holm(comparisons), cells, design, counts["done"], sum(counts.values()))


def read_cells(study: Study) -> list[Cell]:
    """Every finished cell with its predictions, in order of seed and fold."""
    classes = tuple(study.document["classes"])
    table = study.store.images(study.name)
    index = {name: number for number, name in enumerate(classes)}
    targets = np.array([index[label] for _, label, _ in table], dtype=np.int64)
    paths = np.array([path for path, _, _ in table], dtype=object)
    groups = np.array([group for _, _, group in table], dtype=object)
    cells = []
    for row in study.store.results(study.name):
        numbers, probabilities = _array(row.images), _array(row.probabilities)
        predictions = Predictions(
            targets[numbers], probabilities, classes, groups[numbers], tuple(paths[numbers])
        )
        cells.append(Cell(row.arm, row.seed, row.fold, row.result, predictions))
    return cells


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with p values adjusted for their number (Holm 1979), each with its level.

    Comparisons without a p value count, too, as they may get one later.
    """
    count = len(comparisons)
    order = sorted(
        (number for number in range(count) if comparisons[number].estimate.p is not None),
        key=lambda number: comparisons[number].estimate.p or 0.0,
    )
    found, worst = list(comparisons), 0.0
    for rank, number in enumerate(order):
        p = comparisons[number].estimate.p
        assert p is not None
        worst = max(worst, min(1.0, (count - rank) * p))
        found[number] = dataclasses.replace(
            comparisons[number], holm=worst, level=(1 - LEVEL) / (count - rank)
        )
    return found


def _arm(
    name: str, arm: Mapping[str, Any], cells: Sequence[Cell], planned: int, metric: str, folded: bool
) -> ArmFigures:
    own = [cell for cell in cells if cell.arm == name]
    by_seed = predictions_by_seed(own, folded)
    estimate = estimate_of(own, None, metric, folded) if own else None
    values = [
        float(np.mean([cell.result["figures"][metric] for cell in own if cell.seed == s])) for s in by_seed
    ]
    if any(cell.result["figures"][metric] is None for cell in own):
        values = []
    return ArmFigures(
        name,
        arm["baseline"],
        len(own),
        planned,
        estimate,
        float(np.std(values, ddof=1)) if len(values) > 1 else None,
        arm["parameters"],
        arm["multiply_adds"],
        _median([cell.result["memory"] for cell in own]),
    )


def compare_arms(
    cells: Sequence[Cell], one: str, two: str, metric: str, folded: bool, count: int
) -> Comparison | None:
    """An arm minus another one, over the cells that both have finished; None without such cells."""
    first = {cell.unit: cell for cell in cells if cell.arm == one}
    second = {cell.unit: cell for cell in cells if cell.arm == two}
    units = sorted(set(first) & set(second))
    if not units:
        return None
    before, after = [first[unit] for unit in units], [second[unit] for unit in units]
    estimate = estimate_of(after, before, metric, folded)
    stacked = _stacked(before), _stacked(after)
    try:
        bootstrap = compare(*stacked, [metric])[metric]
    except ExciteError:
        bootstrap = None
    seeds = len({seed for seed, _ in units})
    more = smallest = None
    level = (1 - LEVEL) / count
    if estimate.studies is not None:
        studies = estimate.studies
        smallest = studies(seeds, level).smallest()
        if smallest > largest_difference(metric):
            smallest = math.inf
        if estimate.value:
            needed = trainings_needed(estimate.value, lambda s: studies(s, level), seeds + 1)
            more = None if needed is None else needed - seeds
    return Comparison(
        one,
        two,
        estimate,
        corrected(after, before, metric, folded),
        bootstrap,
        len(units),
        seeds,
        len({path for cell in before for path in cell.predictions.paths or ()}),
        len(set(stacked[0].groups if stacked[0].groups is not None else ())),
        more_seeds=more,
        smallest=smallest,
    )


def _stacked(cells: Sequence[Cell]) -> Predictions:
    """The predictions of all cells as one table; all predictions of an image belong to one group."""
    parts = [cell.predictions for cell in cells]
    groups = np.concatenate([_named_groups(part) for part in parts])
    paths = tuple(f"{cell.seed} {path}" for cell in cells for path in cell.predictions.paths or ())
    targets = np.concatenate([part.targets for part in parts])
    probabilities = np.concatenate([part.probabilities for part in parts])
    return Predictions(targets, probabilities, parts[0].classes, groups, paths)


def _named_groups(part: Predictions) -> np.ndarray:
    """(N,) the group of each image, or its path if it has none."""
    assert part.paths is not None
    if part.groups is None:
        return np.array([f"image {path}" for path in part.paths], dtype=object)
    named = [f"group {g}" if g else f"image {p}" for g, p in zip(part.groups, part.paths, strict=True)]
    return np.array(named, dtype=object)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _array(content: bytes) -> np.ndarray:
    return np.load(io.BytesIO(content), allow_pickle=False)
