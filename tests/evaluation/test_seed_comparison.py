"""Two configurations with several seeds each: variance of seeds and of groups, and the level of p."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from excite.errors import ExciteError
from excite.evaluation.predictions import Predictions
from excite.evaluation.seed_comparison import compare_seeds, nested_difference


def training(right: np.ndarray, groups: np.ndarray | None = None) -> Predictions:
    """Predictions that are right for these images."""
    targets = np.arange(len(right)) % 2
    yes = np.where(right == (targets == 1), 0.9, 0.1)
    return Predictions(targets, np.stack([1 - yes, yes], axis=1), ("no", "yes"), groups=groups)


def test_with_seeds_alone_it_is_students_t_test() -> None:
    """Tables whose columns are equal have no variance of groups, and none of the residuals."""
    random = np.random.default_rng(0)
    one, two = random.normal(0, 1, 4), random.normal(0.5, 1, 7)
    found = nested_difference(np.tile(one[:, None], 50), np.tile(two[:, None], 50))
    expected = stats.ttest_ind(two, one)
    assert found.value == pytest.approx(two.mean() - one.mean())
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.group_variance == pytest.approx(0, abs=1e-12)


def test_with_equal_trainings_it_is_the_paired_t_test_over_groups() -> None:
    random = np.random.default_rng(1)
    one, two = random.normal(size=(2, 200))
    found = nested_difference(np.tile(one, (3, 1)), np.tile(two, (3, 1)))
    assert found.seed_variance == pytest.approx(0, abs=1e-12)
    assert found.group_variance == pytest.approx((two - one).var(ddof=1) / 200)
    assert found.p == pytest.approx(stats.ttest_rel(one, two).pvalue, abs=0.01)


def test_the_difference_is_that_of_the_mean_accuracies() -> None:
    random = np.random.default_rng(2)
    first, second = random.random((3, 120)) < 0.7, random.random((4, 120)) < 0.8
    groups = np.repeat(np.arange(40), 3).astype(str)
    found = compare_seeds(
        [training(row, groups) for row in first], [training(row, groups) for row in second], ["accuracy"]
    )["accuracy"]
    assert (found.first, found.second) == pytest.approx((first.mean(), second.mean()))
    assert found.value == pytest.approx(second.mean() - first.mean())
    assert found.low < found.value < found.high
    # Equal groups: the pseudo-values of the accuracy are the means of the groups.
    tables = (side.reshape(len(side), 40, 3).mean(axis=2) for side in (first, second))
    assert found.p == pytest.approx(nested_difference(*tables).p)


@pytest.mark.parametrize("seeds", [(2, 2), (3, 3), (5, 5), (3, 10)])
def test_the_test_holds_its_level_when_seeds_differ(seeds: tuple[int, int]) -> None:
    """1,000 images, 2 points between seeds: one run of each has more than 30 % false positives."""
    random = np.random.default_rng(3)
    alarms = []
    for _ in range(400):
        difficulty = random.normal(size=1000)
        sides = []
        for count in seeds:
            level = stats.norm.ppf(np.clip(0.85 + 0.02 * random.normal(size=(count, 1)), 0, 0.99))
            sides.append(
                ((difficulty + random.normal(size=(count, 1000))) / np.sqrt(2) < level).astype(float)
            )
        alarms.append(nested_difference(*sides).p < 0.05)
    assert 0.01 <= np.mean(alarms) <= 0.08


def test_without_any_variation_there_is_no_interval() -> None:
    right = np.ones(40, dtype=bool)
    found = compare_seeds([training(right)] * 2, [training(right)] * 2, ["accuracy"])["accuracy"]
    assert (found.value, found.low, found.p) == (0, None, None)
    assert "varies neither" in found.reason


def test_runs_that_cannot_be_compared_are_one_line() -> None:
    one = training(np.arange(40) % 3 > 0)
    with pytest.raises(ExciteError, match="two trainings on each side"):
        compare_seeds([one], [one, one])
    with pytest.raises(ExciteError, match="did you mean 'accuracy'"):
        compare_seeds([one, one], [one, one], ["acuracy"])
    few = training(np.arange(4) % 3 > 0)
    assert compare_seeds([few, few], [few, few], ["accuracy"])["accuracy"].reason
