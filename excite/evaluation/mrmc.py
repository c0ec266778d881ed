"""A mean over trainings and over groups of images at once: both are samples, and both make it unsure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.intervals import FEWEST_GROUPS, LEVEL, too_few
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums, jackknife

RANKED = ("auroc", "average_precision")


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of a table of S trainings by G groups, in units of one entry.

    Args:
        trainings, groups, rest: between trainings, between groups, and what neither explains.
        rows, columns: S and G.
    """

    trainings: float
    groups: float
    rest: float
    rows: int
    columns: int

    @property
    def variance(self) -> float:
        """Of the grand mean: what groups share beyond chance counts beside what trainings do."""
        beyond = max(self.groups - self.rest, 0.0)
        return (self.trainings + beyond) / (self.rows * self.columns)

    @property
    def degrees(self) -> float:
        """Satterthwaite's for that sum, less what the square of an estimate is too large by.

        His are the square of the sum over the sum of the squares' variances. That square is too large by the
        variance of the sum, which is 2 degrees. Uncorrected, 3 trainings of equal arms are told apart 7 times
        of 100, so corrected 4.3 to 5.5 times, from 3 trainings on (benchmarks/study_verdicts.py).
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
        standard_error, low, high, p: of the mean as an estimate for other trainings and other groups; ``p``
            is two-sided, of a mean of 0.
        squares: what they are made of.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    p: float
    squares: MeanSquares


def mean_squares(table: np.ndarray) -> MeanSquares:
    """The mean squares of a table (S, G) with one entry a cell. Raises: ExciteError for fewer than 2 by 2."""
    rows, columns = table.shape
    if rows < 2 or columns < 2 or not np.isfinite(table).all():
        raise ExciteError(
            "a crossed mean needs two trainings and two groups, all finite", exit_code=BAD_USAGE
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

    That is the analysis of many readers and many cases, with trainings for readers: the variance of the
    mean is (MS(trainings) + max(MS(groups) - MS(rest), 0)) / (S G).

    Args:
        overlap: of folds, test images over training images. Images are tested and trained on, so what is
            peculiar to this data set moves all folds alike; as Nadeau and Bengio (2003) do, so much of the
            variance is added. How well it holds: benchmarks/study_verdicts.py.

    Raises: ExciteError for fewer than two rows or columns.
    """
    squares = mean_squares(table)
    mean, error = float(table.mean()), float(np.sqrt((1 + overlap) * squares.variance))
    degrees = squares.degrees
    half = float(stdtrit(degrees, 0.5 + level / 2)) * error
    certain = 1.0 if mean == 0 else 0.0
    p = 2 * float(stdtr(degrees, -abs(mean) / error)) if error > 0 else certain
    return CrossedMean(mean, error, mean - half, mean + half, p, squares)


def pseudo_values(
    first: Sequence[Predictions], second: Sequence[Predictions] | None, metric: str
) -> np.ndarray:
    """(S, G) pseudo-values of a figure, or of its difference, for each training and each group of images.

    G times the figure minus G - 1 times what it is without the group: its mean over the groups is the figure
    with the jackknife's correction, and for a share of images it is what the group adds to it. Of very many
    groups, blocks are left out.

    Args:
        first: of S trainings, all of the same images in the same order.
        second: likewise; the pseudo-values are those of second - first. None: of the first's own figure.

    Raises:
        ExciteError: for too few groups, or where the figure is not defined without one of them.
    """
    both = [first] if second is None else [first, second]
    groups = first[0].group_count
    if groups < FEWEST_GROUPS:
        raise ExciteError(too_few(groups))
    tables = [[GroupSums(one, ranking=metric in RANKED) for one in side] for side in both]
    found = []
    for side in tables:
        points = np.array([float(table.point().overall[metric][0]) for table in side])
        left = np.stack([values.overall[metric] for values in jackknife(side, 0)])
        blocks = left.shape[1]
        found.append(blocks * points[:, None] - (blocks - 1) * left)
    table = found[0] if second is None else found[1] - found[0]
    if not np.isfinite(table).all():
        raise ExciteError(f"{metric} is not defined without one of the groups: a class has too few images")
    return table
