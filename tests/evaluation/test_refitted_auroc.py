"""The AUROC of refitted heads against scikit-learn, and its intervals under shuffled labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from excite.errors import ExciteError
from excite.evaluation.refitted_auroc import GroupedFolds


def simulated(seed: int, classes: int = 2, signal: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(60), 3)
    targets = random.permutation(np.arange(60) % classes)[codes]
    features = random.normal(size=(60, 12))[codes] + random.normal(size=(180, 12))
    features[:, 0] += signal * targets
    return features, targets, codes


@pytest.mark.parametrize("classes", [2, 3])
def test_values_are_those_of_ridge_regression_and_ranks_within_folds(classes: int) -> None:
    features, targets, codes = simulated(0, classes, signal=1.0)
    folds = GroupedFolds(targets, codes)
    table = (features - features.mean(0)) / features.std(0)
    areas = []
    for label in range(classes):
        ranks = np.empty(len(targets))
        for fold in np.unique(folds.folds):
            inside, outside = folds.folds != fold, folds.folds == fold
            wanted = (targets[inside] == label).astype(float)
            # Without an intercept on centered targets, and the table centered over all images.
            model = Ridge(alpha=table.shape[1], fit_intercept=False)
            model.fit(table[inside], wanted - wanted.mean())
            ranks[outside] = stats.rankdata(model.predict(table[outside])) / outside.sum()
            ranks[outside] -= 0.5 / outside.sum()
        areas.append(roc_auc_score(targets == label, ranks))
    expected = np.mean(areas) if classes > 2 else areas[1]
    assert folds.auroc(features).value == pytest.approx(expected, abs=1e-9)


def test_groups_are_held_out_whole_and_shuffles_stay_in_folds() -> None:
    _, targets, codes = simulated(1)
    folds = GroupedFolds(targets, codes)
    assert all(len(np.unique(folds.folds[codes == g])) == 1 for g in range(60))
    for labels in folds.shuffled[:20]:
        assert all(len(np.unique(labels[codes == g])) == 1 for g in range(60))
        for fold in np.unique(folds.folds):
            there = folds.folds == fold
            assert labels[there].sum() == targets[there].sum()


@pytest.mark.slow
def test_without_signal_intervals_hold_a_half_and_p_is_uniform() -> None:
    found = [GroupedFolds(t, c).auroc(f) for f, t, c in (simulated(seed) for seed in range(40))]
    hits = np.mean([each.interval.low <= 0.5 <= each.interval.high for each in found])
    assert 0.85 <= hits <= 1
    assert abs(np.mean([each.value for each in found]) - 0.5) < 0.03
    assert stats.kstest([each.p for each in found], "uniform").pvalue > 0.01


def test_signal_is_found_and_features_that_do_not_vary_are_chance() -> None:
    features, targets, codes = simulated(2, signal=3.0)
    found = GroupedFolds(targets, codes).auroc(features, tests=10)
    assert found.p == 1 / 200
    assert found.corrected.low < found.interval.low
    assert found.interval.low > 0.5
    flat = GroupedFolds(targets, codes).auroc(np.ones((len(targets), 4)))
    assert flat.value == 0.5
    assert not flat.interval.low > 0.5


def test_more_features_than_images() -> None:
    features, targets, codes = simulated(3, signal=3.0)
    wide = np.hstack([features] * 40)
    one, many = (GroupedFolds(targets, codes).auroc(f).value for f in (features, wide))
    assert many == pytest.approx(one, abs=1e-9)  # the penalty grows with the number of features


def test_a_class_with_one_group_is_refused() -> None:
    with pytest.raises(ExciteError, match="two groups"):
        GroupedFolds(np.array([0, 0, 1]), np.array([0, 1, 2]))
