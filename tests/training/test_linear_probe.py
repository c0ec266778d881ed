"""A linear probe against scikit-learn, and the independence of held-out predictions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from excite.errors import ExciteError
from excite.training.linear_probe import C_VALUES, fit_probe


def clustered(groups: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of patients with four images each; one of 30 predicts the class, all together the patient."""
    random = np.random.default_rng(seed)
    label = np.arange(groups) % classes
    center = random.normal(size=(groups, 30))
    center[:, 0] += 1.5 * label
    rows = np.repeat(np.arange(groups), 4)
    features = center[rows] + 0.1 * random.normal(size=(len(rows), 30))
    return features * random.uniform(0.01, 100, 30), label[rows], rows


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_is_scikit_learns_at_the_chosen_c(classes: int) -> None:
    features, targets, groups = clustered(60, classes)
    probe = fit_probe(features, targets, groups, classes=classes)
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=probe.C, tol=1e-8, max_iter=10_000)
    model.fit(scaler.transform(features), targets)
    ours = softmax(features @ probe.weight.T + probe.bias)
    assert ours == pytest.approx(model.predict_proba(scaler.transform(features)), abs=5e-3)


def test_c_has_the_lowest_log_loss_on_held_out_groups() -> None:
    features, targets, groups = clustered(60, 2)
    probe = fit_probe(features, targets, groups, classes=2)
    losses = {c: loss for c, loss, _ in probe.tried}
    assert set(losses) == set(C_VALUES)
    assert losses[probe.C] == min(losses.values())
    assert losses[probe.C] == pytest.approx(log_loss(targets, softmax(probe.held_out)))
    assert C_VALUES[0] < probe.C < C_VALUES[-1]


@pytest.mark.slow
def test_held_out_predictions_are_independent_of_the_patients_labels() -> None:
    """Labels drawn by patient: other images of a patient reveal the label, without them it is chance."""
    random = np.random.default_rng(1)
    features, _, groups = clustered(80, 2)
    targets = random.permutation(np.arange(80) % 2)[groups]
    probe = fit_probe(features, targets, groups, classes=2)
    held_out = (probe.held_out.argmax(axis=1) == targets).mean()
    assert held_out < 0.65
    probe = fit_probe(features, targets, np.arange(len(targets)), classes=2)
    assert (probe.held_out.argmax(axis=1) == targets).mean() > 0.7


def test_shares_weigh_images_as_if_they_were_there_so_often() -> None:
    features, targets, groups = clustered(40, 2)
    shares = 1.0 + (targets == 1) * 2
    probe = fit_probe(features, targets, groups, classes=2, sample_weights=shares)
    scaler = StandardScaler().fit(features)
    repeated = np.repeat(np.arange(len(targets)), shares.astype(int))
    model = LogisticRegression(C=probe.C, tol=1e-8, max_iter=10_000)
    model.fit(scaler.transform(features)[repeated], targets[repeated])
    ours = softmax(features @ probe.weight.T + probe.bias)
    assert ours == pytest.approx(model.predict_proba(scaler.transform(features)), abs=5e-3)


def test_a_class_of_one_group_cannot_be_held_out() -> None:
    features, targets, groups = clustered(10, 2)
    groups[targets == 1] = 99
    with pytest.raises(ExciteError, match="class 1 has 1 group"):
        fit_probe(features, targets, groups, classes=2)
