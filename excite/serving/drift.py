"""Whether the last images look like those of the validation: confidence and predicted classes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from excite.config.task import MULTICLASS, MULTILABEL, Task

WINDOW = 500  # images


class Drift:
    """The mean confidence and the fractions of the predicted classes, or labels, over the last images.

    Args:
        classes: names.
        reference: of ``BundleInfo``; None: unknown, and then there are no differences.
        window: number of images.
        task: of the classifier.

    Example:
        >>> drift = Drift(("ant", "bee"), {"images": 50, "confidence": 0.9, "class_fractions": [0.5, 0.5]})
        >>> for label in ("ant", "ant", "ant", "bee"):
        ...     drift.add([label], 0.8)
        >>> round(drift.confidence_difference, 3), drift.class_distance
        (-0.1, 0.25)
    """

    def __init__(
        self,
        classes: Sequence[str],
        reference: Mapping[str, Any] | None,
        window: int = WINDOW,
        *,
        task: Task = MULTICLASS,
    ) -> None:
        self.classes, self.reference, self.task = tuple(classes), reference, task
        self._number = {name: number for number, name in enumerate(classes)}
        self._images: deque[tuple[tuple[int, ...], float]] = deque(maxlen=window)

    def __len__(self) -> int:
        return len(self._images)

    def add(self, labels: Sequence[str], confidence: float) -> None:
        """Count an image by its predicted class, or its labels, and its highest probability."""
        self._images.append((tuple(self._number[name] for name in labels), confidence))

    @property
    def confidence(self) -> float:
        """Mean of the highest probability; NaN before the first image."""
        return float(np.mean([each for _, each in self._images])) if self._images else float("nan")

    @property
    def fractions(self) -> list[float]:
        """Fraction of the images for which each class is predicted; NaN before the first image."""
        numbers = [number for chosen, _ in self._images for number in chosen]
        counts = np.bincount(np.array(numbers, dtype=np.int64), minlength=len(self.classes))
        return (counts / len(self._images)).tolist() if self._images else [float("nan")] * len(self.classes)

    @property
    def confidence_difference(self) -> float:
        """Of the mean confidence from that of the validation; NaN if unknown."""
        return float("nan") if self.reference is None else self.confidence - self.reference["confidence"]

    @property
    def class_distance(self) -> float:
        """Distance of the fractions from those of the validation, in [0, 1]; NaN if unknown.

        The total variation distance of classes; of several labels, the largest difference of one.
        """
        if self.reference is None:
            return float("nan")
        differences = np.abs(np.subtract(self.fractions, self.reference["class_fractions"]))
        return float(differences.max() if self.task == MULTILABEL else differences.sum() / 2)

    @property
    def distance_text(self) -> str:
        """What ``class_distance`` is."""
        if self.task == MULTILABEL:
            return "Largest difference of the fraction of a label from the validation's."
        return "Total variation distance of the fractions from the validation's."
