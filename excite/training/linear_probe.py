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

C_VALUES = tuple(float(value) for value in np.logspace(-5, 1, 13))
"""Values of scikit-learn's ``C``, the inverse of regularization strength, for standardized features.

The smallest value predicts little but class frequencies.
"""
FOLDS = 5
MAX_ITERATIONS = 500  # of L-BFGS; weakly regularized heads need a few hundred


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted head: logits = features @ weight.T + bias.

    Args:
        weight, bias: (C, F) and (C,), for features that are not standardized.
        C: the chosen inverse of regularization strength, as in scikit-learn's ``LogisticRegression``.
        held_out: (N, C) logits of each image, from a head that was fitted without its group.
        tried: (C, log loss, accuracy) of the held-out images for each value of C.
    """

    weight: np.ndarray
    bias: np.ndarray
    C: float
    held_out: np.ndarray
    tried: tuple[tuple[float, float, float], ...]

    @property
    def score(self) -> tuple[float, float]:
        """Log loss and accuracy of the held-out images with the chosen C."""
        return min((loss, accuracy) for _, loss, accuracy in self.tried)

    @property
    def strengths(self) -> str:
        """C, for a line of text."""
        return f"{self.C:g}"


def fit_probe(
    features: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    *,
    classes: int,
    sample_weights: np.ndarray | None = None,
    seed: int = 0,
) -> Probe:
    """Logistic regression on all images, with the C that has the lowest log loss on held-out groups.

    Args:
        features: (N, F).
        targets: (N,) class indices; each of the C classes occurs.
        groups: (N,) group numbers; images of one group, such as a patient, are held out together.
        sample_weights: (N,) weights of the images; None: equal.

    Raises:
        ExciteError: if a class has fewer than two groups, so that none can be held out.

    Example:
        >>> import numpy as np
        >>> features = np.repeat(np.eye(2), 10, axis=0)  # ten images of each class
        >>> probe = fit_probe(features, np.repeat([0, 1], 10), np.arange(20), classes=2)
        >>> (probe.held_out.argmax(axis=1) == np.repeat([0, 1], 10)).all()
        np.True_
    """
    per_class = [len(np.unique(groups[targets == label])) for label in range(classes)]
    folds = min(FOLDS, *per_class)
    if folds < 2:
        what = f"class {int(np.argmin(per_class))} has {min(per_class)} group"
        raise ExciteError(f"{what}, but a linear probe needs two, to hold one out", hint="add images")
    weights = np.ones(len(targets)) if sample_weights is None else sample_weights
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    held_out = np.zeros((len(C_VALUES), len(targets), classes))
    # More threads gain nothing for matrices of this size, and are forty times slower on a busy machine.
    with threadpool_limits(limits=1):
        for inside, outside in splitter.split(features, targets, groups):
            path = _Path(features[inside], targets[inside], weights[inside], classes)
            for index, c in enumerate(C_VALUES):
                weight, bias = path.head(c)
                held_out[index, outside] = features[outside] @ weight.T + bias
        tried = tuple(
            (c, *_scores(logits, targets, weights)) for c, logits in zip(C_VALUES, held_out, strict=True)
        )
        best = int(np.argmin([loss for _, loss, _ in tried]))
        path = _Path(features, targets, weights, classes)
        for c in C_VALUES[: best + 1]:
            weight, bias = path.head(c)
    return Probe(weight, bias, C_VALUES[best], held_out[best], tried)


class _Path:
    """The regularization path of one training set: each fit starts from the one before, with a larger C."""

    def __init__(self, features: np.ndarray, targets: np.ndarray, weights: np.ndarray, classes: int) -> None:
        self.mean, self.scale = features.mean(axis=0), features.std(axis=0)
        self.scale[self.scale == 0] = 1
        self.inputs = (features - self.mean) / self.scale
        self.targets, self.weights, self.classes = targets, weights, classes
        self.model = LogisticRegression(warm_start=True, max_iter=MAX_ITERATIONS, tol=1e-4)

    def head(self, c: float) -> tuple[np.ndarray, np.ndarray]:
        """(C, F) and (C,), for features that are not standardized."""
        self.model.C = c
        with warnings.catch_warnings():  # a fit that stops early is scored like the others
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(self.inputs, self.targets, sample_weight=self.weights)
        weight, bias = self.model.coef_, self.model.intercept_
        if self.classes == 2:  # one row, for the second class
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        scaled = weight / self.scale
        return scaled, bias - scaled @ self.mean


def _scores(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]
    correct = logits.argmax(axis=1) == targets
    return float(np.average(losses, weights=weights)), float(np.average(correct, weights=weights))
