"""The rule that turns probabilities into a predicted class: a threshold for the positive class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from excite.errors import BAD_USAGE, ExciteError


@dataclass(frozen=True, eq=False)
class DecisionRule:
    """An image is predicted as ``label`` from a threshold up, and else as the most probable other class.

    Args:
        label: the positive class.
        thresholds: the lowest probability with which an image is predicted as it: one for all images, or (N,)
            one for each, as the folds of a cross-validation have their own.

    Example:
        >>> rule = DecisionRule("mpox", 0.2)
        >>> rule.decide(np.array([[0.3, 0.7], [0.1, 0.9]]), 0).tolist()
        [0, 1]
    """

    label: str
    thresholds: float | np.ndarray

    def decide(self, probabilities: np.ndarray, index: int) -> np.ndarray:
        """(N,) int64, the predicted class of each row of probabilities (N, C).

        Args:
            index: the column of ``label``.
        """
        others = probabilities.copy()
        others[:, index] = -1.0
        decided: np.ndarray = np.where(
            probabilities[:, index] >= self.thresholds, index, others.argmax(axis=1)
        )
        return decided.astype(np.int64)

    def check(self, images: int) -> None:
        """Raises: ExciteError if there is not one threshold for all images or one for each."""
        if np.shape(self.thresholds) not in ((), (images,)):
            what = f"{np.size(self.thresholds)} thresholds for {images} images: one per image is needed"
            raise ExciteError(what, exit_code=BAD_USAGE)
        if not np.isfinite(self.thresholds).all():
            raise ExciteError("a threshold is not a finite number", exit_code=BAD_USAGE)

    def of_images(self, images: int) -> np.ndarray:
        """(N,) the threshold of each of N images."""
        return np.broadcast_to(np.asarray(self.thresholds, dtype=np.float64), (images,))

    def take(self, rows: np.ndarray) -> DecisionRule:
        """The rule of some of the images."""
        thresholds = self.thresholds
        return self if np.ndim(thresholds) == 0 else DecisionRule(self.label, np.asarray(thresholds)[rows])


def join_rules(rules: list[tuple[DecisionRule | None, int]]) -> DecisionRule | None:
    """The rule of several sets of images together; None if they have none.

    Args:
        rules: the rule of each set, and the number of its images.

    Raises:
        ExciteError: for rules of different classes, and if only some of the sets have one.
    """
    labels = {None if rule is None else rule.label for rule, _ in rules}
    if labels == {None}:
        return None
    if len(labels) > 1:
        raise ExciteError("either all folds or none must have a threshold, of the same class")
    thresholds = np.concatenate([rule.of_images(images) for rule, images in rules if rule is not None])
    return DecisionRule(str(labels.pop()), thresholds)
