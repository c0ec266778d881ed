"""From calibrated probabilities of several labels to a prediction: the labels that reach their threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from excite.bundle.prediction import Prediction, PredictionList
from excite.config.task import MULTILABEL, Task
from excite.data.labels import SEPARATOR
from excite.errors import BAD_USAGE, ExciteError


@dataclass(frozen=True)
class LabelDecision:
    """The thresholds of a classifier of several labels; it has the interface of ``Decision``.

    Args:
        thresholds: from which each label is predicted, in the order of the labels.

    Example:
        >>> [found] = LabelDecision((0.3, 0.5)).predictions([""], np.array([[0.4, 0.2]]), ("mass", "nodule"))
        >>> found.labels, found.probabilities
        (('mass',), {'mass': 0.4, 'nodule': 0.2})
    """

    thresholds: tuple[float, ...]
    task: ClassVar[Task] = MULTILABEL
    abstain_below: ClassVar[None] = None
    rule: ClassVar[None] = None
    sets: ClassVar[None] = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelDecision:
        """Of ``to_dict``'s result."""
        return cls(tuple(map(float, values["thresholds"])))

    def to_dict(self) -> dict[str, Any]:
        """``thresholds``, for a JSON file."""
        return {"thresholds": list(self.thresholds)}

    def check_set_level(self, level: float) -> None:
        """Raises: ExciteError: there are no prediction sets of several labels."""
        what = "prediction sets are for one class per image; this classifier has several labels"
        raise ExciteError(what, hint="its predictions are sets of labels already", exit_code=BAD_USAGE)

    def predictions(
        self,
        paths: Sequence[str],
        probabilities: np.ndarray,
        classes: Sequence[str],
        *,
        members: np.ndarray | None = None,
        set_level: float | None = None,
    ) -> PredictionList:
        """The predictions for N images.

        Args:
            paths: N paths.
            probabilities: (N, L), calibrated.
            classes: L names of labels.
            members: None: there are no ensembles of several labels.
            set_level: None, as ``check_set_level`` says.

        Raises:
            ExciteError: as ``check_set_level``.
        """
        assert members is None
        if set_level is not None:
            self.check_set_level(set_level)
        rows = np.asarray(probabilities, dtype=np.float64)
        predictions, limits = PredictionList(), dict(zip(classes, self.thresholds, strict=True))
        for path, row, chosen in zip(paths, rows, self.decide(rows, classes), strict=True):
            labels = tuple(classes[number] for number in np.flatnonzero(chosen).tolist())
            named = dict(zip(classes, map(float, row), strict=True))
            text, highest = SEPARATOR.join(labels), float(row.max())
            predictions.append(Prediction(path, text, highest, named, labels=labels, thresholds=dict(limits)))
        return predictions

    def decide(self, rows: np.ndarray, classes: Sequence[str]) -> np.ndarray:
        """(N, L) whether each label is predicted, for calibrated probabilities (N, L)."""
        chosen: np.ndarray = np.asarray(rows) >= np.array(self.thresholds)
        return chosen
