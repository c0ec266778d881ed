"""The predictions of a classifier: one for each image, and all of them as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from excite.errors import ExciteError
from excite.evaluation.prediction_columns import PROBABILITY
from excite.system.notebook import table_html
from excite.system.text import printable, shorten_middle

if TYPE_CHECKING:
    import pandas as pd

IN_SET = "set:"  # prefix of a column: whether the prediction set holds the class
MEMBERS = ("members", "members_disagreeing", "members_low", "members_high")  # columns of an ensemble
SHOWN = 10  # rows of a repr


@dataclass(frozen=True)
class Disagreement:
    """Disagreement between the members of an ensemble on one image.

    Args:
        members: how many members there are.
        disagreeing: how many of them predict another class than the ensemble.
        low, high: the lowest and the highest probability of the ensemble's class among the members.
    """

    members: int
    disagreeing: int
    low: float
    high: float

    @classmethod
    def of(cls, members: np.ndarray, classes: np.ndarray, best: int) -> Disagreement:
        """Of the probabilities (M, C) and the classes (M,) of each member; ``best`` is that of the ensemble.

        >>> Disagreement.of(np.array([[0.75, 0.25], [0.375, 0.625]]), np.array([0, 1]), 0)
        Disagreement(members=2, disagreeing=1, low=0.375, high=0.75)
        """
        disagreeing = int((classes != best).sum())
        own = members[:, best]
        return cls(len(members), disagreeing, float(own.min()), float(own.max()))


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Args:
        path: of the image file; empty for an image from memory.
        label: the predicted class: the most probable one, or with an operating point the positive class from
            its threshold up, and else the most probable other class.
        probability: its calibrated probability.
        probabilities: class name -> calibrated probability.
        abstained: whether the highest probability is below the classifier's ``abstain_below``; None if it
            has none.
        classes_in_set: the prediction set, the most probable class first; None if none was requested.
        disagreement: between the members of an ensemble; None for a single network.
        labels: the predicted labels, those whose probability reaches its threshold, of a classifier of
            several labels; ``label`` is their text, "" for none, and ``probability`` the highest of all
            labels. None: an image has one class.
        thresholds: label -> threshold, likewise.
    """

    path: str
    label: str
    probability: float
    probabilities: Mapping[str, float]
    abstained: bool | None = None
    classes_in_set: tuple[str, ...] | None = None
    disagreement: Disagreement | None = None
    labels: tuple[str, ...] | None = None
    thresholds: Mapping[str, float] | None = None


class PredictionList(list[Prediction]):
    """Predictions in the order of the images; ``table`` has them as a DataFrame.

    >>> one = Prediction("a.png", "cat", 0.75, {"cat": 0.75, "dog": 0.25})
    >>> print(PredictionList([one]).table.to_csv(index=False).strip())
    path,predicted,probability,p:cat,p:dog
    a.png,cat,0.75,0.75,0.25
    """

    @property
    def table(self) -> pd.DataFrame:
        """One row per image: path, predicted, probability, and ``p:CLASS`` for each class.

        Of several labels ``predicted`` is their text, and there is no column ``probability``. With a limit of
        the confidence also abstained, with prediction sets ``set:CLASS``, and of an ensemble the disagreement
        of its members.

        Raises:
            ExciteError: if pandas is not installed, as in an environment for exported files only.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise ExciteError("a table needs pandas", hint="pip install pandas") from error

        columns, *rows = self.rows()
        return pd.DataFrame(rows, columns=[str(name) for name in columns])

    def rows(self) -> list[list[object]]:
        """The header and the rows of ``table``."""
        classes = list(self[0].probabilities) if self else []
        if self.has_labels:
            label_header: list[object] = ["path", "predicted", *(PROBABILITY + name for name in classes)]
            return [label_header, *([each.path, each.label, *each.probabilities.values()] for each in self)]
        has_sets = any(each.classes_in_set is not None for each in self)
        is_ensemble = any(each.disagreement is not None for each in self)
        abstains = any(each.abstained is not None for each in self)
        header: list[object] = ["path", "predicted", "probability", *(["abstained"] if abstains else [])]
        header += [PROBABILITY + name for name in classes]
        header += [IN_SET + name for name in classes] if has_sets else []
        header += MEMBERS if is_ensemble else ()
        rows = [header]
        for each in self:
            row: list[object] = [each.path, each.label, each.probability]
            row += [each.abstained] if abstains else []
            row += [each.probabilities[name] for name in classes]
            row += [name in (each.classes_in_set or ()) for name in classes] if has_sets else []
            row += asdict(each.disagreement).values() if each.disagreement else ()
            rows.append(row)
        return rows

    @property
    def has_labels(self) -> bool:
        """Whether an image may have several labels."""
        return any(each.labels is not None for each in self)

    def by_doubt(self) -> PredictionList:
        """The most doubtful first: by the lead of the highest probability over the next.

        Of several labels, by the smallest distance of a probability from its threshold.

        >>> sure = Prediction("sure.png", "cat", 0.75, {"cat": 0.75, "dog": 0.25})
        >>> unsure = Prediction("unsure.png", "dog", 0.5, {"cat": 0.5, "dog": 0.5})
        >>> [each.path for each in PredictionList([sure, unsure]).by_doubt()]
        ['unsure.png', 'sure.png']
        """
        return PredictionList(sorted(self, key=_lead))

    def __repr__(self) -> str:
        counted = "1 prediction" if len(self) == 1 else f"{len(self):,} predictions"
        lines = [f"{counted}; .table is a DataFrame" if len(self) > SHOWN else counted]
        for number, each in enumerate(self[:SHOWN]):
            name = shorten_middle(printable(each.path or f"image {number}"), 40)
            label = f"abstained: {each.label}?" if each.abstained else each.label
            if each.labels is not None:
                lines.append(f"  {name:<40}  {printable(', '.join(each.labels)) or 'no label'}")
                continue
            lines.append(f"  {name:<40}  {each.probability:>6.1%}  {printable(label)}")
        if len(self) > SHOWN:
            lines.append(f"  ... and {len(self) - SHOWN:,} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The first predictions, for a notebook; without the images, which may show people."""
        rows = [
            [
                shorten_middle(printable(each.path or f"image {number}"), 60),
                f"abstained: {each.label}?" if each.abstained else each.label,
                f"{each.probability:.1%}",
            ]
            for number, each in enumerate(self[:SHOWN])
        ]
        more = f"{len(self):,} predictions; .table is a DataFrame" if len(self) > SHOWN else ""
        return table_html(("image", "class", "probability"), rows, right=("probability",), below=more)


def _lead(prediction: Prediction) -> float:
    if prediction.thresholds is not None:
        limits = prediction.thresholds
        return min(abs(value - limits[name]) for name, value in prediction.probabilities.items())
    *_, second, first = sorted(prediction.probabilities.values())
    return first - second
