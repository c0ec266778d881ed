"""A probe of several labels is one logistic regression for each."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from excite.errors import ExciteError
from excite.training.label_probe import fit_label_probe


def problem(images: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, values of two labels that depend on them, and groups of two images."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(images, 4)) * [1, 3, 0.5, 1]
    logits = features @ np.array([[2.0, 0], [0, 1.0], [0, 0], [1, -1]]) - [0, 1]
    values = (random.random(logits.shape) < expit(logits)).astype(int)
    return features, values, np.arange(images) // 2


def test_each_label_has_its_own_regression() -> None:
    features, values, groups = problem()
    values[:60, 1] = -1
    probe = fit_label_probe(features, values, groups, names=("a", "b"))
    assert probe.weight.shape == (2, 4)
    for label in range(2):
        rows = values[:, label] >= 0
        mean, scale = features[rows].mean(axis=0), features[rows].std(axis=0)
        twin = LogisticRegression(C=probe.C[label], max_iter=1000, tol=1e-8)
        twin.fit((features[rows] - mean) / scale, values[rows, label])
        expected = twin.decision_function((features - mean) / scale)
        found = features @ probe.weight[label] + probe.bias[label]
        np.testing.assert_allclose(found, expected, atol=0.02)
    unknown = values[:, 1] < 0
    np.testing.assert_allclose(
        probe.held_out[unknown, 1], (features @ probe.weight.T + probe.bias)[unknown, 1]
    )


def test_held_out_logits_do_not_know_the_group() -> None:
    random = np.random.default_rng(1)
    features = np.repeat(random.normal(size=(60, 30)), 2, axis=0)  # copies: a leak would rank them perfectly
    values = np.repeat(random.integers(0, 2, (60, 2)), 2, axis=0)
    probe = fit_label_probe(features, values, np.arange(120) // 2, names=("a", "b"))
    right = ((probe.held_out > 0) == (values == 1)).mean()
    assert right < 0.65
    assert probe.score[1] == pytest.approx(right)


def test_a_label_of_one_group_is_named() -> None:
    features, values, groups = problem(40)
    values[:, 1] = 0
    values[:2, 1] = 1
    with pytest.raises(ExciteError, match="there is 1 group with label 'b'"):
        fit_label_probe(features, values, groups, names=("a", "b"))
