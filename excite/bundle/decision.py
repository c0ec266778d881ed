"""From calibrated probabilities to a prediction: class, abstention, prediction set, disagreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from excite.bundle.label_decision import LabelDecision
from excite.bundle.prediction import Disagreement, Prediction, PredictionList
from excite.config.task import MULTICLASS, Task
from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.decision_rule import DecisionRule
from excite.evaluation.prediction_sets import PredictionSets


@dataclass(frozen=True)
class Decision:
    """The thresholds of a classifier.

    Args:
        abstain_below: images whose highest probability is lower are marked as abstained; None: none is.
        rule: the threshold of the positive class, one for all images; None: the most probable class counts.
        sets: the prediction sets; None: there are none.

    Example:
        >>> decision = Decision(0.7, DecisionRule("ill", 0.2))
        >>> one, two = decision.predictions(["", ""], np.array([[0.75, 0.25], [0.9, 0.1]]), ("well", "ill"))
        >>> one.label, one.probability, two.label
        ('ill', 0.25, 'well')
    """

    task: ClassVar[Task] = MULTICLASS
    abstain_below: float | None = None
    rule: DecisionRule | None = None
    sets: PredictionSets | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Decision:
        """Of ``to_dict``'s result."""
        point, sets = values["operating_point"], values["prediction_sets"]
        return cls(
            None if values["abstain_below"] is None else float(values["abstain_below"]),
            None if point is None else DecisionRule(str(point["label"]), float(point["threshold"])),
            None if sets is None else PredictionSets.from_dict(sets),
        )

    def to_dict(self) -> dict[str, Any]:
        """``abstain_below``, ``operating_point``, and ``prediction_sets``, for a JSON file."""
        return {
            "abstain_below": self.abstain_below,
            "operating_point": None
            if self.rule is None
            else {"label": self.rule.label, "threshold": float(self.rule.thresholds)},
            "prediction_sets": None if self.sets is None else self.sets.to_dict(),
        }

    def check_set_level(self, level: float) -> None:
        """Raises: ExciteError if prediction sets with this level take more validation groups."""
        self._prediction_sets().threshold(level)

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
            probabilities: (N, C), calibrated.
            classes: C names.
            members: (N, M, C) probabilities of the members of an ensemble.
            set_level: level of the prediction sets; None: no sets.

        Raises:
            ExciteError: as ``check_set_level``.
        """
        rows = np.asarray(probabilities, dtype=np.float64)
        chosen = self.decide(rows, classes)
        inside, below = None, self.abstain_below
        if set_level is not None and len(rows):
            inside = self._prediction_sets().contains(rows, set_level)
        predictions = PredictionList()
        for number, (path, row, best) in enumerate(zip(paths, rows, chosen.tolist(), strict=True)):
            in_set = None
            if inside is not None:
                in_set = tuple(classes[k] for k in np.argsort(-row) if inside[number, k])
            predictions.append(
                Prediction(
                    path,
                    classes[best],
                    float(row[best]),
                    dict(zip(classes, map(float, row), strict=True)),
                    abstained=None if below is None else bool(row.max() < below),
                    classes_in_set=in_set,
                    disagreement=None
                    if members is None
                    else Disagreement.of(members[number], self.decide(members[number], classes), best),
                )
            )
        return predictions

    def decide(self, rows: np.ndarray, classes: Sequence[str]) -> np.ndarray:
        """(N,) the number of the predicted class, for calibrated probabilities (N, C)."""
        if self.rule is None:
            return np.asarray(rows.argmax(axis=1))
        return self.rule.decide(rows, list(classes).index(self.rule.label))

    def _prediction_sets(self) -> PredictionSets:
        if self.sets is None:
            what = "this classifier has no prediction sets: it was made without validation images"
            raise ExciteError(what, exit_code=BAD_USAGE)
        return self.sets


def decision_of(values: Mapping[str, Any]) -> Decision | LabelDecision:
    """The thresholds of a classifier, of ``to_dict``'s result of either kind."""
    return LabelDecision.from_dict(values) if "thresholds" in values else Decision.from_dict(values)
