"""Prediction sets: the classes that an image may have, with the true one among them as often as required."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.group_quantile import ROUNDING, groups_needed, mass_below

if TYPE_CHECKING:  # an exported classifier has prediction sets, and imports no tables
    from excite.evaluation.predictions import Predictions

MOST_STEPS = 1000  # of the saved quantile function


@dataclass(frozen=True)
class PredictionSets:
    """Split conformal prediction by groups, with the probability of the true class as the score.

    The set of an image holds each class whose probability reaches a threshold, and always the most probable
    class. Of all sets with the same coverage on average over images, these are the smallest (Sadinle, Lei &
    Wasserman 2019, theorem 1). Adaptive scores (Romano, Sesia & Candès 2020) would make the coverage of hard
    and easy images more equal, with larger sets and a random number for each image.

    The guarantee is for images of new groups that are drawn like the validation groups, each group counting
    once (see ``group_quantile.lower_quantile``). It holds on average, not for each class.

    Args:
        groups: number of validation groups.
        probabilities: distinct probabilities of the true class of validation images, ascending.
        below: for each of them, how many groups are below it; a group counts with the fraction of its images.

    Example:
        >>> from excite.evaluation.predictions import Predictions
        >>> rows = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.2, 0.8]])
        >>> sets = PredictionSets.fit(Predictions(np.array([0, 0, 0, 1]), rows, ("cat", "dog")))
        >>> sets.threshold(0.8), sets.threshold(0.6)
        (0.4, 0.7)
        >>> sets.contains(np.array([[0.55, 0.45]]), 0.8).tolist()
        [[True, True]]
    """

    groups: int
    probabilities: tuple[float, ...]
    below: tuple[float, ...]

    @classmethod
    def fit(cls, validation: Predictions) -> PredictionSets:
        """The sets of a classifier, from its calibrated predictions of validation images."""
        own = validation.probabilities[np.arange(len(validation)), validation.targets]
        steps, first = np.unique(own, return_index=True)
        below = mass_below(own, validation.group_codes)[first]
        if len(steps) > MOST_STEPS:  # a step that is left out lowers the threshold to the one before it
            positions = np.unique(np.linspace(0, len(steps) - 1, MOST_STEPS).astype(int))
            steps, below = steps[positions], below[positions]
        return cls(validation.group_count, tuple(steps.tolist()), tuple(below.tolist()))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PredictionSets:
        """Of ``to_dict``'s result."""
        return cls(values["groups"], tuple(values["probabilities"]), tuple(values["below"]))

    def to_dict(self) -> dict[str, Any]:
        """``groups``, ``probabilities``, and ``below``, for a JSON file."""
        return {
            "groups": self.groups,
            "probabilities": list(self.probabilities),
            "below": list(self.below),
        }

    def allows(self, level: float) -> bool:
        """Whether there are enough validation groups to guarantee this coverage."""
        needed = groups_needed(level)
        return needed is not None and self.groups >= needed

    def threshold(self, level: float) -> float:
        """The probability from which a class is in the set.

        Args:
            level: required fraction of images with the true class in their set, in (0, 1).

        Raises:
            ExciteError: for a level outside (0, 1), or one that takes more validation groups.
        """
        if not 0 < level < 1:
            raise ExciteError(f"the level of a set must be in (0, 1), got {level:g}", exit_code=BAD_USAGE)
        if not self.allows(level):
            what = f"sets with a level of {level:g} need {groups_needed(level)} validation groups"
            what += f"; this classifier has {self.groups}"
            best = np.floor(1000 * self.groups / (self.groups + 1)) / 1000
            raise ExciteError(what, hint=f"request at most {best:g}", exit_code=BAD_USAGE)
        missed = (np.array(self.below) + 1) / (self.groups + 1)
        return self.probabilities[int(np.flatnonzero(missed <= 1 - level + ROUNDING)[-1])]

    def contains(self, probabilities: np.ndarray, level: float) -> np.ndarray:
        """(N, C) calibrated probabilities -> (N, C) whether each class is in the set of each image.

        Raises:
            ExciteError: as ``threshold``.
        """
        inside = probabilities >= self.threshold(level)
        inside[np.arange(len(inside)), probabilities.argmax(axis=1)] = True
        return np.asarray(inside)
