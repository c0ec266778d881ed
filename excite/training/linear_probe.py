"""A linear probe: a regularized linear classifier on the features of a trained network."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from excite.errors import ExciteError

STRENGTHS = tuple(float(value) for value in np.logspace(-5, 1, 13))
"""Inverse penalties, on standardized features: at the first little but the classes' shares counts."""
FOLDS = 5
STEPS = 500  # of L-BFGS; loosely regularized heads need a few hundred


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted head: logits = features @ weight.T + bias.

    Args:
        weight, bias: (C, F) and (C,), of the features as they come.
        strength: the inverse penalty that was chosen.
        held_out: (N, C) logits of each image, from a head that was fitted without its group.
        tried: for each strength, the mean log loss of the held-out images and how many of them were right.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    held_out: np.ndarray
    tried: tuple[tuple[float, float, float], ...]


# Products of this size gain nothing from threads, and where other work runs, threads that wait for each other
# take forty times as long.
@threadpool_limits.wrap(limits=1)
def fit_probe(
    features: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    *,
    classes: int,
    shares: np.ndarray | None = None,
    seed: int = 0,
) -> Probe:
    """Logistic regression whose penalty is chosen by the log loss on held-out groups, then fitted on all.

    Args:
        features: (N, F).
        targets: (N,) class indices; each of the C classes occurs.
        groups: (N,) numbers of what must not be torn apart, such as patients.
        shares: (N,) weights of the images; None: all alike.

    Raises:
        ExciteError: if a class has fewer than two groups, so that nothing can be held out.
    """
    per_class = [len(np.unique(groups[targets == label])) for label in range(classes)]
    folds = min(FOLDS, *per_class)
    if folds < 2:
        what = f"class {int(np.argmin(per_class))} has {min(per_class)} group"
        raise ExciteError(f"{what}: a probe needs two, to hold one out", hint="add images")
    weights = np.ones(len(targets)) if shares is None else shares
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    held_out = np.zeros((len(STRENGTHS), len(targets), classes))
    for inside, outside in splitter.split(features, targets, groups):
        fit = _Path(features[inside], targets[inside], weights[inside], classes)
        for index, strength in enumerate(STRENGTHS):
            weight, bias = fit.head(strength)
            held_out[index, outside] = features[outside] @ weight.T + bias
    tried = tuple(
        (strength, *_scores(logits, targets, weights))
        for strength, logits in zip(STRENGTHS, held_out, strict=True)
    )
    best = int(np.argmin([loss for _, loss, _ in tried]))
    whole = _Path(features, targets, weights, classes)
    for strength in STRENGTHS[: best + 1]:
        weight, bias = whole.head(strength)
    return Probe(weight, bias, STRENGTHS[best], held_out[best], tried)


class _Path:
    """Heads for one training set, from the strongest penalty on, each begun where the last one ended."""

    def __init__(self, features: np.ndarray, targets: np.ndarray, weights: np.ndarray, classes: int) -> None:
        self.mean, self.scale = features.mean(axis=0), features.std(axis=0)
        self.scale[self.scale == 0] = 1
        self.inputs = (features - self.mean) / self.scale
        self.targets, self.weights, self.classes = targets, weights, classes
        self.model = LogisticRegression(warm_start=True, max_iter=STEPS, tol=1e-4)

    def head(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """(C, F) and (C,) for features as they come."""
        self.model.C = strength
        with warnings.catch_warnings():  # where it does not converge, held-out images judge what it gave
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(self.inputs, self.targets, sample_weight=self.weights)
        weight, bias = self.model.coef_, self.model.intercept_
        if self.classes == 2:  # one row, for the second class: half of it for, half against
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        scaled = weight / self.scale
        return scaled, bias - scaled @ self.mean


def _scores(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    surprise = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]
    right = logits.argmax(axis=1) == targets
    return float(np.average(surprise, weights=weights)), float(np.average(right, weights=weights))
