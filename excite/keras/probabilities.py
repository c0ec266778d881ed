"""The last layer of an exported classifier: from logits to calibrated probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="excite")
class ClassProbabilities(keras.layers.Layer):
    """softmax(logits / temperature + intercept), in float32 or wider: (N, classes) -> (N, classes).

    Args:
        classes: the names of the classes in the order of the outputs; they are saved with the model.
        temperature: the divisor of the logits that calibrates the probabilities.
        intercept: what is added to the logits of each class after the division; None: nothing.

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
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # mixed precision would round the logits first
        self.classes = list(classes)
        self.temperature = float(temperature)
        self.intercept = [0.0] * len(self.classes) if intercept is None else list(map(float, intercept))

    def call(self, logits: Any) -> Any:
        wide = keras.backend.result_type(logits.dtype, "float32")
        intercept = ops.convert_to_tensor(self.intercept, dtype=wide)
        return ops.softmax(ops.cast(logits, wide) / self.temperature + intercept)

    def compute_output_spec(self, logits: Any) -> Any:
        wide = keras.backend.result_type(logits.dtype, "float32")
        return keras.KerasTensor(logits.shape, dtype=wide)

    def get_config(self) -> dict[str, Any]:
        calibration = {"temperature": self.temperature, "intercept": list(self.intercept)}
        return {**super().get_config(), "classes": list(self.classes), **calibration}
