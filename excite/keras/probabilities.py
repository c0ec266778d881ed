"""The last layer of an exported classifier: from logits to calibrated probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="excite")
class ClassProbabilities(keras.layers.Layer):
    """softmax(logits / temperature + intercept), in float32 or wider: (N, classes) -> (N, classes).

    Args:
        classes: the names of the classes in the order of the outputs; they are saved with the model.
        temperature: the divisor of the logits that calibrates the probabilities.
        intercept: what is added to the logits of each class after the division; None: nothing.
        positive: the positive class; None: the most probable class is predicted.
        threshold: the probability from which an image is predicted as ``positive``; saved with the model, for
            ``decide``.

    Example:
        >>> layer = ClassProbabilities(["cat", "dog"], temperature=2.0)
        >>> tuple(layer(keras.ops.zeros((1, 2))).shape)
        (1, 2)
    """

    def __init__(
        self,
        classes: Sequence[str],
        temperature: float = 1.0,
        intercept: Sequence[float] | None = None,
        positive: str | None = None,
        threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # mixed precision would round the logits first
        self.classes = list(classes)
        self.temperature = float(temperature)
        self.intercept = [0.0] * len(self.classes) if intercept is None else list(map(float, intercept))
        self.positive, self.threshold = positive, threshold

    def decide(self, probabilities: Any) -> list[str]:
        """The name of the predicted class of each row of probabilities (N, C), as excite predicts it.

        Example:
            >>> layer = ClassProbabilities(["mpox", "other"], positive="mpox", threshold=0.2)
            >>> layer.decide([[0.3, 0.7], [0.1, 0.9]])
            ['mpox', 'other']
        """
        rows = np.array(ops.convert_to_numpy(probabilities), dtype=np.float64)
        if self.positive is None or self.threshold is None:
            return [self.classes[column] for column in rows.argmax(axis=1)]
        index = self.classes.index(self.positive)
        reached = rows[:, index] >= self.threshold
        rows[:, index] = -1.0
        columns = np.where(reached, index, rows.argmax(axis=1))
        return [self.classes[column] for column in columns]

    def call(self, logits: Any) -> Any:
        wide = keras.backend.result_type(logits.dtype, "float32")
        intercept = ops.convert_to_tensor(self.intercept, dtype=wide)
        return ops.softmax(ops.cast(logits, wide) / self.temperature + intercept)

    def compute_output_spec(self, logits: Any) -> Any:
        wide = keras.backend.result_type(logits.dtype, "float32")
        return keras.KerasTensor(logits.shape, dtype=wide)

    def get_config(self) -> dict[str, Any]:
        calibration = {"temperature": self.temperature, "intercept": list(self.intercept)}
        rule = {"positive": self.positive, "threshold": self.threshold}
        return {**super().get_config(), "classes": list(self.classes), **calibration, **rule}
