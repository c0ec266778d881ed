"""Intervals of AUROC and average precision: their definition, and few positive images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from excite.evaluation.ranking_interval import RankingIntervals


def hanley(area: float, m: float, n: float) -> float:
    """Newcombe's version of Hanley and McNeil's variance."""
    half = (m + n) / 2 - 1
    terms = 1 + half * (1 - area) / (2 - area) + half * area / (1 + area)
    return area * (1 - area) * terms / (m * n)


def test_the_bounds_of_a_perfect_ranking_follow_theory() -> None:
    scores, positive = np.arange(40) / 40, np.arange(40) >= 35
    found = RankingIntervals(scores, positive, np.arange(40)).auroc()
    assert found.high == 1
    assert found.low is not None
    quantile = stats.t.ppf(0.975, 10)
    assert 1 - found.low == pytest.approx(quantile * np.sqrt(hanley(found.low, 5, 35)), rel=1e-6)


def test_many_images_have_delongs_interval() -> None:
    random = np.random.default_rng(0)
    positive = np.arange(4000) < 2000
    scores = random.normal(size=4000) + positive
    found = RankingIntervals(scores, positive, np.arange(4000))
    area, error = float(found.placements.areas[0]), np.sqrt(found.variance)
    interval = found.auroc()
    assert interval.low == pytest.approx(area - 1.96 * error, abs=0.05 * error)
    assert interval.high == pytest.approx(area + 1.96 * error, abs=0.05 * error)


def test_copies_in_a_group_count_once() -> None:
    random = np.random.default_rng(0)
    positive = np.arange(60) < 20
    scores = random.normal(size=60) + positive
    once = RankingIntervals(scores, positive, np.arange(60)).auroc()
    rows = np.repeat(np.arange(60), 7)
    many = RankingIntervals(scores[rows], positive[rows], rows).auroc()
    assert many.low == pytest.approx(once.low, abs=1e-6)
    assert many.high == pytest.approx(once.high, abs=1e-6)


@pytest.mark.parametrize("area", [0.75, 0.97])
def test_six_positive_images_are_enough_for_the_auroc(area: float) -> None:
    """DeLong's variance with a normal quantile covers 83 to 93 % here."""
    random = np.random.default_rng(0)
    shift = stats.norm.ppf(area) * np.sqrt(2)
    positive = np.arange(150) < 6
    inside = 0
    for _ in range(800):
        found = RankingIntervals(random.normal(size=150) + shift * positive, positive, np.arange(150)).auroc()
        inside += (found.low or 0) <= area <= (found.high or 0)
    assert inside / 800 > 0.935
