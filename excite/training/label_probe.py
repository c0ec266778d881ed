"""A linear probe of several labels: one logistic regression for each, on the same features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from excite.errors import ExciteError
from excite.training.linear_probe import fit_probe


@dataclass(frozen=True, eq=False)
class LabelProbe:
    """A fitted head: logits = features @ weight.T + bias.

    Args:
        weight, bias: (L, F) and (L,), for features that are not standardized.
        C: the chosen inverse of regularization strength of each label.
        held_out: (N, L) logits of each image, from heads that were fitted without its group; of an image
            whose value of a label is unknown, from the final head of that label.
        tried: (C, log loss, accuracy) of the held-out images for each value of C, averaged over labels.
        score: log loss and accuracy of the held-out images with the chosen C, averaged over labels.
    """

    weight: np.ndarray
    bias: np.ndarray
    C: tuple[float, ...]
    held_out: np.ndarray
    tried: tuple[tuple[float, float, float], ...]
    score: tuple[float, float]

    @property
    def strengths(self) -> str:
        """The values of C, for a line of text."""
        low, high = min(self.C), max(self.C)
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def fit_label_probe(
    features: np.ndarray,
    values: np.ndarray,
    groups: np.ndarray,
    *,
    names: tuple[str, ...],
    weights: np.ndarray | None = None,
    seed: int = 0,
) -> LabelProbe:
    """Fit a probe for each label, as ``fit_probe``, to the images where its value is known.

    Args:
        features: (N, F).
        values: (N, L): 1, 0, or -1 (unknown).
        groups: (N,) group numbers.
        names: of the labels, for errors.
        weights: (L, 2) weights of the values 0 and 1 of each label; None: equal.

    Raises:
        ExciteError: for a label with, or without, which there are fewer than two groups.

    Example:
        >>> features = np.repeat(np.eye(2), 10, axis=0)
        >>> values = np.repeat([[1, 1], [0, 1]], 10, axis=0) * [1, 0] + np.tile([[0, 1], [0, 0]], (10, 1))
        >>> probe = fit_label_probe(features, values, np.arange(20), names=("a", "b"))
        >>> ((probe.held_out[:, 0] > 0) == (values[:, 0] == 1)).all()
        np.True_
    """
    probes, held_out = [], np.empty(values.shape)
    for column, name in enumerate(names):
        rows = np.flatnonzero(values[:, column] >= 0)
        own = values[rows, column]
        try:
            probe = fit_probe(
                features[rows],
                own,
                groups[rows],
                classes=2,
                sample_weights=None if weights is None else weights[column][own],
                seed=seed,
            )
        except ExciteError as error:
            groups_of = [len(np.unique(groups[rows][own == value])) for value in (0, 1)]
            word = "with" if groups_of[1] < groups_of[0] else "without"
            what = f"there is {min(groups_of)} group {word} label {name!r}"
            raise ExciteError(f"{what}, but a linear probe needs two, to hold one out") from error
        held_out[:, column] = features @ (probe.weight[1] - probe.weight[0]) + probe.bias[1] - probe.bias[0]
        held_out[rows, column] = probe.held_out[:, 1] - probe.held_out[:, 0]
        probes.append(probe)
    tried = np.mean([probe.tried for probe in probes], axis=0)
    best = np.mean([min(probe.tried, key=lambda row: row[1])[1:] for probe in probes], axis=0)
    return LabelProbe(
        np.stack([probe.weight[1] - probe.weight[0] for probe in probes]),
        np.array([probe.bias[1] - probe.bias[0] for probe in probes]),
        tuple(probe.C for probe in probes),
        held_out,
        tuple((float(c), float(loss), float(accuracy)) for c, loss, accuracy in tried),
        (float(best[0]), float(best[1])),
    )
