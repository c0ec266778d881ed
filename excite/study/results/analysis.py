"""The analysis of a study: each arm with its variation, each pair of arms with its difference and p-value."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from excite.evaluation.predictions import Predictions
from excite.study.results.comparisons import Comparison, compare_arms, holm
from excite.study.results.estimates import Cell, Estimate, estimate_of, folds_by_seed, same_images
from excite.study.store.store import Look
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
class Analysis:
    """The results of a study so far.

    Args:
        comparisons: the pairs of arms that have finished cells.
        planned_comparisons: the number of pairs in the plan, for which p-values are adjusted.
        looks: the looks so far, with this one.
        done, planned: number of finished and of all cells.
    """

    metric: str
    arms: Sequence[ArmFigures]
    comparisons: Sequence[Comparison]
    planned_comparisons: int
    cells: Sequence[Cell]
    design: str
    looks: Sequence[Look]
    done: int
    planned: int


def analyze(study: Study, metric: str | None = None, baseline: str | None = None) -> Analysis:
    """Read the finished cells of a study, record the look at them, and compare its arms.

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
    looks = _looks(study, cells)
    first = next(iter(arms))
    pairs = [
        (other, name) for name, arm in arms.items() if (other := baseline or arm["baseline"] or first) != name
    ]
    comparisons = [
        comparison
        for one, two in pairs
        if (comparison := compare_arms(cells, one, two, metric, study.folds, len(pairs), looks)) is not None
    ]
    design = SAME_IMAGES if same_images(folds_by_seed(cells, folded)) else NEW_SPLITS
    adjusted = holm(comparisons, len(pairs))
    return Analysis(
        metric, figures, adjusted, len(pairs), cells, design, looks, counts["done"], sum(counts.values())
    )


def _looks(study: Study, cells: Sequence[Cell]) -> list[Look]:
    """Record a look at these cells, if there are any; all looks at them or at fewer."""
    if cells:
        study.store.record_look(study.name, [(cell.arm, *cell.unit) for cell in cells])
    return [look for look in study.store.looks(study.name) if len(look.cells) <= len(cells)]


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


def _arm(
    name: str, arm: Mapping[str, Any], cells: Sequence[Cell], planned: int, metric: str, folded: bool
) -> ArmFigures:
    own = [cell for cell in cells if cell.arm == name]
    by_seed = folds_by_seed(own, folded)
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


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _array(content: bytes) -> np.ndarray:
    return np.load(io.BytesIO(content), allow_pickle=False)
