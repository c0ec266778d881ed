"""Quantiles of validation scores that hold for an image of a new group: conformal prediction by groups."""

from __future__ import annotations

import math

import numpy as np

ROUNDING = 1e-9


def mass_below(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(N,) for each score the number of groups below it: a group counts with the fraction of its images.

    >>> mass_below(np.array([0.1, 0.5, 0.5, 0.9]), np.array([0, 0, 1, 2])).tolist()
    [0.0, 0.5, 0.5, 2.0]
    """
    codes = np.unique(codes, return_inverse=True)[1]
    order = np.argsort(scores, kind="stable")
    cumulated = np.concatenate([[0.0], np.cumsum((1 / np.bincount(codes))[codes][order])])
    below: np.ndarray = cumulated[np.searchsorted(scores[order], scores, side="left")]
    return below


def lower_quantile(scores: np.ndarray, codes: np.ndarray, level: float) -> tuple[float, float]:
    """The highest score that an image of a new group reaches with probability at least ``level``.

    The order statistic of split conformal prediction: of n independent images, the ⌈level (n + 1)⌉-th from
    above (Vovk et al. 2005). With G groups, each has the weight of one image, and the new group that of one
    more, as if all of its scores were low (Lee, Barber & Willett 2023, equation 4, arXiv 2306.06342): the
    highest score with (groups below it + 1) / (G + 1) ≤ 1 - level.

    The probability is over the validation groups as well as over the new image: on average over validation
    sets the level is reached, and about half of the sets fall short of it.

    Args:
        scores: (N,) of validation images.
        codes: (N,) code of the group of each image.
        level: in (0, 1].

    Returns:
        the score, and the probability that is guaranteed. With too few groups (``groups_needed``), it is the
        lowest score, and the probability is G / (G + 1), below the level.

    Example:
        >>> lower_quantile(np.arange(39.0), np.arange(39), 0.95)
        (1.0, 0.95)
        >>> lower_quantile(np.arange(4.0), np.arange(4), 0.95)
        (0.0, 0.8)
    """
    groups = len(np.unique(codes))
    missed = (mass_below(scores, codes) + 1) / (groups + 1)
    allowed = missed <= 1 - level + ROUNDING
    score = float(scores[allowed].max()) if allowed.any() else float(scores.min())
    return score, round(1 - float(missed[scores == score][0]), 12)


def groups_needed(level: float) -> int | None:
    """The fewest groups with which a level can be guaranteed, ⌈level / (1 - level)⌉; None for a level of 1.

    >>> groups_needed(0.95), groups_needed(0.9)
    (19, 9)
    """
    return None if level >= 1 else math.ceil(round(level / (1 - level), 9))
