"""The mean over crossed trainings and images, against statsmodels, SciPy, and simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from excite.errors import ExciteError
from excite.evaluation.mrmc import crossed_mean, mean_squares, pseudo_values
from excite.evaluation.predictions import Predictions
from tests.evaluation.simulated_studies import simulated


def table(seed: int = 0, shape: tuple[int, int] = (4, 12)) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows, columns = shape
    return random.normal(size=(rows, 1)) + 2 * random.normal(size=(1, columns)) + random.normal(size=shape)


def test_mean_squares_are_those_of_a_two_way_analysis_of_variance() -> None:
    values = table()
    rows, columns = np.indices(values.shape)
    frame = pd.DataFrame({"y": values.ravel(), "r": rows.ravel(), "c": columns.ravel()})
    formula = pytest.importorskip("statsmodels.formula.api", reason="statsmodels is not installed")
    anova = pytest.importorskip("statsmodels.stats.anova", reason="statsmodels is not installed")
    expected = anova.anova_lm(formula.ols("y ~ C(r) + C(c)", frame).fit())
    expected = expected["sum_sq"] / expected["df"]
    found = mean_squares(values)
    assert (found.trainings, found.groups, found.rest) == pytest.approx(tuple(expected))


def test_the_variance_is_that_over_new_rows_and_columns() -> None:
    """Unbiased: over many tables its mean is the variance of their means."""
    found = [crossed_mean(table(seed)) for seed in range(2000)]
    true = np.var([one.mean for one in found])
    assert np.mean([one.squares.variance for one in found]) == pytest.approx(true, rel=0.1)
    assert true == pytest.approx(1 / 4 + 4 / 12 + 1 / 48, rel=0.1)


def test_with_equal_trainings_it_is_close_to_a_t_test() -> None:
    """Columns alone matter: the interval is that of the columns' means, with two degrees of freedom fewer."""
    columns = np.random.default_rng(0).normal(size=(1, 40))
    values = columns + 1e-9 * np.random.default_rng(1).normal(size=(5, 40))
    expected = stats.ttest_1samp(columns[0], 0)
    found = crossed_mean(values)
    assert found.standard_error == pytest.approx(columns.mean() / expected.statistic)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(expected.statistic), 37))
    assert found.high == pytest.approx(found.mean + stats.t.ppf(0.975, 37) * found.standard_error)


def predictions(seed: int, groups: np.ndarray | None = None, images: int = 60) -> Predictions:
    random = np.random.default_rng(seed)
    targets = np.arange(images) % 2
    scores = np.clip(0.5 + 0.2 * (targets - 0.5) + 0.2 * random.normal(size=images), 0.01, 0.99)
    return Predictions(targets, np.column_stack([1 - scores, scores]), ("a", "b"), groups)


def test_pseudo_values_of_accuracy_are_the_correct_predictions() -> None:
    one, two = [predictions(1), predictions(2)], [predictions(3), predictions(4)]
    found = pseudo_values([[p] for p in one], [[p] for p in two], "accuracy")
    right = [np.stack([p.correct.astype(float) for p in side]) for side in (one, two)]
    # The columns come in the jackknife's own order.
    assert np.sort(found, axis=1) == pytest.approx(np.sort(right[1] - right[0], axis=1))
    assert found.sum(axis=0) == pytest.approx(found.sum(axis=0).round())


def test_pseudo_values_of_auroc_are_the_jackknifes_by_hand() -> None:
    groups = np.array([f"g{n // 4}" for n in range(60)], dtype=object)
    side = [predictions(1, groups), predictions(2, groups)]
    found = pseudo_values([[p] for p in side], None, "auroc")
    for row, one in zip(found, side, strict=True):

        def area(keep: np.ndarray, one: Predictions = one) -> float:
            return float(roc_auc_score(one.targets[keep], one.probabilities[keep, 1]))

        whole = area(np.ones(60, dtype=bool))
        expected = np.array([15 * whole - 14 * area(groups != f"g{n}") for n in range(15)])
        assert row.mean() == pytest.approx(whole)
        assert sorted(row) == pytest.approx(sorted(expected - expected.mean() + whole))


def test_too_little_is_refused() -> None:
    with pytest.raises(ExciteError, match="two trainings and two groups"):
        crossed_mean(np.ones((1, 5)))
    groups = np.array([f"g{n % 3}" for n in range(60)], dtype=object)
    with pytest.raises(ExciteError, match="3 groups are too few"):
        pseudo_values([[predictions(1, groups)]] * 3, None, "accuracy")


def test_in_5_percent_of_studies_equal_arms_differ_significantly() -> None:
    random = np.random.default_rng(0)
    shown = np.mean([crossed_mean(simulated(random, 0.0)).p < 0.05 for _ in range(1000)])
    assert shown == pytest.approx(0.05, abs=0.01)
