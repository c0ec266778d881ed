"""Swaps against all swaps by hand, McNemar's test, and scipy's permutation test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from excite.evaluation.comparison import compare, mcnemar
from excite.evaluation.predictions import Predictions
from excite.evaluation.swap_test import Swaps, sign_table
from tests.evaluation.simulated import simulate, softmax


def pair(
    random: np.random.Generator, groups: int, size: int = 1, better: float = 0.0
) -> tuple[Predictions, Predictions]:
    base = simulate(random, groups, size=size, signal=1.0)
    seen, truth = np.log(base.probabilities), np.eye(2)[base.targets]
    first, second = (
        Predictions(
            base.targets,
            softmax(seen + random.normal(size=seen.shape) + more * truth),
            base.classes,
            base.groups,
        )
        for more in (0.0, better)
    )
    return first, second


def by_hand(first: Predictions, second: Predictions, swapped: np.ndarray, metric: str) -> float:
    """The difference of a metric after the swap of the groups (G,) bool."""
    rows = swapped[first.group_codes]
    sides = []
    for own, other in ((first, second), (second, first)):
        ranks, others = (stats.rankdata(one.probabilities[:, 1]) for one in (own, other))
        score = np.where(rows, others, ranks)
        predicted = np.where(rows, other.predicted, own.predicted)
        losses = -np.log(np.where(rows[:, None], other.probabilities, own.probabilities))
        sides.append(
            {
                "balanced_accuracy": lambda p=predicted: balanced_accuracy_score(first.targets, p),
                "auroc": lambda s=score: roc_auc_score(first.targets, s),
                "average_precision": lambda s=score: (
                    (
                        average_precision_score(first.targets, s)
                        + average_precision_score(1 - first.targets, -s)
                    )
                    / 2
                ),
                "log_loss": lambda x=losses: x[np.arange(len(first)), first.targets].mean(),
            }[metric]()
        )
    return float(sides[1] - sides[0])


@pytest.mark.parametrize("metric", ["balanced_accuracy", "auroc", "average_precision", "log_loss"])
@pytest.mark.parametrize("size", [1, 3])
def test_all_swaps_of_few_groups_are_those_by_hand(metric: str, size: int) -> None:
    first, second = pair(np.random.default_rng(1), 10, size)
    swaps = Swaps(first, second, swaps=2000)
    assert swaps.enumerated
    assert len(swaps.signs) == 512
    got = swaps.differences(metric, None, np.full(10, 0.1))
    order = np.random.default_rng(0).permutation(10)  # the group that each sign belongs to
    for row in range(0, 512, 11):
        swapped = np.zeros(10, dtype=bool)
        swapped[order] = swaps.signs[row] < 0
        assert got[row] == pytest.approx(by_hand(first, second, swapped, metric), abs=1e-9)
    observed = abs(by_hand(first, second, np.zeros(10, dtype=bool), metric))
    larger, equal = (np.abs(got) > observed + 1e-9).mean(), np.isclose(np.abs(got), observed).mean()
    assert compare(first, second, [metric])[metric].p == pytest.approx(larger + equal / 2)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "auroc", "log_loss", "brier"])
def test_contributions_of_many_groups_are_exact_for_linear_metrics(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair(np.random.default_rng(1), 60, 2)
    shares = np.full(60, 1 / 60)
    linear = Swaps(first, second, swaps=300).differences(metric, None, shares)
    monkeypatch.setattr("excite.evaluation.swap_test.MOST_EXACT", 100)
    exact = Swaps(first, second, swaps=300).differences(metric, None, shares)
    assert np.sort(np.abs(linear)) == pytest.approx(np.sort(np.abs(exact)), abs=1e-9)


def test_p_of_accuracy_with_single_images_is_mcnemars_mid_p() -> None:
    random = np.random.default_rng(0)
    for better in (0.0, 0.5, 1.0):
        first, second = pair(random, 200, better=better)
        found = compare(first, second, ["accuracy"], resamples=20_000)["accuracy"]
        assert found.p == pytest.approx(mcnemar(first, second).mid_p, abs=0.012)


def test_p_of_the_log_loss_is_scipys() -> None:
    first, second = pair(np.random.default_rng(0), 80, better=0.4)
    losses = [-np.log(one.probabilities[np.arange(80), one.targets]) for one in (first, second)]
    expected = stats.permutation_test(
        (losses[1], losses[0]),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).pvalue
    found = compare(first, second, ["log_loss"], resamples=20_000)["log_loss"]
    assert found.p == pytest.approx(expected, abs=0.01)


def test_the_interval_of_a_mean_is_students_where_the_differences_are_normal() -> None:
    first, second = pair(np.random.default_rng(3), 150, better=0.4)
    losses = [-np.log(one.probabilities[np.arange(150), one.targets]) for one in (first, second)]
    expected = stats.ttest_rel(losses[1], losses[0]).confidence_interval(0.95)
    found = compare(first, second, ["log_loss"], resamples=20_000)["log_loss"]
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.05 * width)
    assert found.high == pytest.approx(expected.high, abs=0.05 * width)


def test_rescaled_scores_have_no_difference_in_ranking() -> None:
    one = simulate(np.random.default_rng(0), 80)
    sharper = Predictions(one.targets, softmax(3 * np.log(one.probabilities)), one.classes)
    found = compare(one, sharper, ["auroc"])["auroc"]
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.reason == "the two classifiers do not differ in any group"


def test_signs_are_enumerated_for_few_groups() -> None:
    signs, enumerated = sign_table(6, 100, 0)
    assert enumerated
    assert len(np.unique(signs, axis=0)) == 32
    assert (signs[:, -1] == 1).all()
    assert not sign_table(12, 100, 0)[1]
