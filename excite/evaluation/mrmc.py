"""Multi-reader multi-case analysis: a mean over trainings and groups of images, both random samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.intervals import FEWEST_GROUPS, LEVEL, too_few
from excite.evaluation.metrics import RANKED
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import BLOCK, GroupSums, jackknife_weights


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of a table of S trainings by G groups, in units of one entry.

    Args:
        trainings, groups, rest: mean squares between trainings, between groups, and of the residuals.
        rows, columns: S and G.
    """

    trainings: float
    groups: float
    rest: float
    rows: int
    columns: int

    @property
    def variance(self) -> float:
        """Variance of the grand mean, from the components of trainings and groups."""
        beyond = max(self.groups - self.rest, 0.0)
        return (self.trainings + beyond) / (self.rows * self.columns)

    @property
    def degrees(self) -> float:
        """Degrees of freedom of the variance: Satterthwaite's, corrected for bias.

        Satterthwaite's are the squared sum over the sum of the squares' variances. The squared sum
        overestimates by the variance of the sum, which is 2 degrees. Without the correction, the false
        positive rate for 3 trainings is 7 %; with it, 4.3 to 5.5 % for 3 and more trainings
        (benchmarks/study_verdicts.py).
        """
        beyond = max(self.groups - self.rest, 0.0)
        total = (self.trainings + beyond) ** 2
        parts = self.trainings**2 / (self.rows - 1)
        if beyond > 0:
            parts += self.groups**2 / (self.columns - 1)
            parts += self.rest**2 / ((self.rows - 1) * (self.columns - 1))
        return max(total / parts - 2, self.rows - 1) if parts > 0 else float(self.rows - 1)


@dataclass(frozen=True)
class CrossedMean:
    """A mean over S trainings and G groups.

    Args:
        mean: the grand mean.
        standard_error, low, high: of the mean, for new trainings and new groups.
        p: two-sided p-value of a mean of 0.
        squares: the mean squares.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    p: float
    squares: MeanSquares


def mean_squares(table: np.ndarray) -> MeanSquares:
    """The mean squares of a table (S, G). Raises: ExciteError for fewer than 2 rows or columns."""
    rows, columns = table.shape
    if rows < 2 or columns < 2 or not np.isfinite(table).all():
        raise ExciteError(
            "a crossed mean needs at least two trainings and two groups, with finite values",
            exit_code=BAD_USAGE,
        )
    grand, by_row, by_column = table.mean(), table.mean(axis=1), table.mean(axis=0)
    rest = table - by_row[:, None] - by_column[None, :] + grand
    return MeanSquares(
        columns * float(((by_row - grand) ** 2).sum()) / (rows - 1),
        rows * float(((by_column - grand) ** 2).sum()) / (columns - 1),
        float((rest**2).sum()) / ((rows - 1) * (columns - 1)),
        rows,
        columns,
    )


def crossed_mean(table: np.ndarray, *, overlap: float = 0.0, level: float = LEVEL) -> CrossedMean:
    """Mean of a table (S, G) whose rows and columns are both random (Dorfman, Berbaum & Metz 1992).

    This is the analysis of multiple readers and multiple cases, with trainings as readers: the variance of
    the mean is (MS(trainings) + max(MS(groups) - MS(rest), 0)) / (S G).

    Args:
        table: (S, G) values of S trainings and G groups.
        overlap: for folds, test images over training images. Folds share training images, so their errors are
            correlated; as in Nadeau and Bengio (2003), the variance increases by this fraction
            (benchmarks/study_verdicts.py measures the coverage).
        level: level of the interval.

    Raises:
        ExciteError: for fewer than two rows or columns.
    """
    squares = mean_squares(table)
    mean, error = float(table.mean()), float(np.sqrt((1 + overlap) * squares.variance))
    degrees = squares.degrees
    half = float(stdtrit(degrees, 0.5 + level / 2)) * error
    certain = 1.0 if mean == 0 else 0.0
    p = 2 * float(stdtr(degrees, -abs(mean) / error)) if error > 0 else certain
    return CrossedMean(mean, error, mean - half, mean + half, p, squares)


def pseudo_values(
    first: Sequence[Sequence[Predictions]], second: Sequence[Sequence[Predictions]] | None, metric: str
) -> np.ndarray:
    """(S, G) normalized jackknife pseudo-values of a metric, or of its difference.

    A pseudo-value is G times the metric minus G - 1 times the metric without the group. Their mean over the
    groups contains the jackknife's bias correction, which is large for groups of uneven sizes, so each row is
    shifted to the metric itself (Hillis, Berbaum & Metz 2008, normalized pseudo-values). The analysis then
    equals that of Obuchowski and Rockette with the jackknife's covariances. With very many groups, blocks are
    left out.

    Args:
        first: S trainings, each with its predictions of the folds; without folds, one. The metric of a
            training is the mean over its folds. All trainings predict the same images; without folds, in the
            same order or with paths.
        second: likewise, for the difference second - first; None: the metric of ``first`` itself.
        metric: name in ``metrics.OVERALL``.

    Raises:
        ExciteError: for too few groups, or if the metric is undefined without one of them.
    """
    groups = len(np.unique(np.concatenate([group_names(part) for part in first[0]])))
    if groups < FEWEST_GROUPS:
        raise ExciteError(too_few(groups))
    weights = jackknife_weights(groups, np.random.default_rng(0))
    table = _training_rows(first, metric, weights)
    if second is not None:
        table = _training_rows(second, metric, weights) - table
    if not np.isfinite(table).all():
        raise ExciteError(f"{metric} is undefined without one of the groups: a class has too few images")
    return table


def group_names(predictions: Predictions) -> np.ndarray:
    """(N,) name of the group of each image; one without a group is named by its path or number."""
    paths = predictions.paths or [str(number) for number in range(len(predictions))]
    groups = [""] * len(paths) if predictions.groups is None else predictions.groups
    named = [
        f"group {group}" if group else f"image {path}" for group, path in zip(groups, paths, strict=True)
    ]
    return np.array(named, dtype=object)


def _training_rows(
    trainings: Sequence[Sequence[Predictions]], metric: str, weights: np.ndarray
) -> np.ndarray:
    """(S, J) normalized pseudo-values of each training; (G, J) weights leave out a block in each column."""
    rows, columns = [], weights.shape[1]
    for parts in trainings:
        names = [group_names(part) for part in parts]
        known = np.unique(np.concatenate(names))
        whole, left = 0.0, np.zeros(columns)
        for part, named in zip(parts, names, strict=True):
            sums = GroupSums(part, ranking=metric in RANKED)
            firsts = np.unique(part.group_codes, return_index=True)[1]
            own = weights[np.searchsorted(known, named[firsts])]
            size = max(16, BLOCK // len(part))
            blocks = (np.ascontiguousarray(own[:, at : at + size]) for at in range(0, columns, size))
            left += np.concatenate([sums.values(block).overall[metric] for block in blocks])
            whole += float(sums.point().overall[metric][0])
        values = (columns * whole - (columns - 1) * left) / len(parts)
        rows.append(values + whole / len(parts) - values.mean())
    return np.stack(rows)
