"""What a study can say: each arm with its spread, each pair with its difference and its p."""

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

SAME_IMAGES, NEW_SPLITS = "the same images in each seed", "other splits in each seed"


@dataclass(frozen=True)
class ArmFigures:
    """An arm over its cells.

    Args:
        cells: how many of them are finished, of ``planned``.
        deviation: of the figure between seeds; None for fewer than two.
        memory: the most bytes that a cell's process takes, median over the cells.
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
    """An arm minus the one that it is compared with, over the cells that both have.

    Args:
        holm: p, adjusted for the number of comparisons.
        level: the level that Holm's procedure compares p with.
        corrected: by the corrected resampled t, whatever the verdict goes by.
        bootstrap: groups alone drawn anew; the trainings are taken as they are.
        more_seeds: how many more would show a difference of this size 8 times of 10; None: no number would.
        smallest: difference that so many seeds and groups could show 8 times of 10; infinite: none that is
            possible.
        units: pairs of cells; ``n`` and ``groups`` of images behind them.
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
    """All that a study says so far."""

    metric: str
    arms: Sequence[ArmFigures]
    comparisons: Sequence[Comparison]
    cells: Sequence[Cell]
    design: str
    done: int
    planned: int


def analyze(study: Study, metric: str | None = None, reference: str | None = None) -> Analysis:
    """Read the finished cells of a study and compare its arms.

    Args:
        metric: of ``plan.METRICS``; None: the plan's own.
        reference: the arm to compare all others with; None: as the plan says.
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
        (baseline, name)
        for name, arm in arms.items()
        if (baseline := reference or arm["baseline"] or first) != name
    ]
    found = [
        comparison
        for one, two in pairs
        if (comparison := _compare(cells, one, two, metric, folded, len(pairs))) is not None
    ]
    design = SAME_IMAGES if same_images(predictions_by_seed(cells, folded)) else NEW_SPLITS
    return Analysis(metric, figures, holm(found), cells, design, counts["done"], sum(counts.values()))


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
        numbers, said = _array(row.images), _array(row.probabilities)
        told = Predictions(targets[numbers], said, classes, groups[numbers], tuple(paths[numbers]))
        cells.append(Cell(row.arm, row.seed, row.fold, row.result, told))
    return cells


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with p adjusted for their number (Holm 1979), each with its level.

    Those of which nothing can be said yet count among them: they may still be.
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


def _compare(
    cells: Sequence[Cell], one: str, two: str, metric: str, folded: bool, count: int
) -> Comparison | None:
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
    """All cells as one table: an image that several seeds test is a group of its own kind."""
    parts = [cell.predictions for cell in cells]
    groups = np.concatenate([_named_groups(part) for part in parts])
    paths = tuple(f"{cell.seed} {path}" for cell in cells for path in cell.predictions.paths or ())
    targets = np.concatenate([part.targets for part in parts])
    said = np.concatenate([part.probabilities for part in parts])
    return Predictions(targets, said, parts[0].classes, groups, paths)


def _named_groups(part: Predictions) -> np.ndarray:
    """(N,) the group of each image, or where it has none its path."""
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
