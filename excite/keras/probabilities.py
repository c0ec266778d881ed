"""The last layer of an exported classifier: from logits to calibrated probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="excite")
class ClassProbabilities(keras.layers.Layer):
    """softmax(logits / temperature), in float32 or wider: (N, classes) -> (N, classes).

    Args:
        classes: the names of the classes in the order of the outputs; they are saved with the model.
        temperature: the divisor of the logits that calibrates the probabilities.

    Example:
        >>> layer = ClassProbabilities(["cat", "dog"], temperature=2.0)
        >>> tuple(layer(keras.ops.zeros((1, 2))).shape)
        (1, 2)
    """

    def __init__(self, classes: Sequence[str], temperature: float = 1.0, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # mixed precision would round the logits first
        self.classes = list(classes)
        self.temperature = float(temperature)

    def call(self, logits: Any) -> Any:
        wide = keras.backend.result_type(logits.dtype, "float32")
        return ops.softmax(ops.cast(logits, wide) / self.temperature)

    def compute_output_spec(self, logits: Any) -> Any:
        wide = keras.backend.result_type(logits.dtype, "float32")
        return keras.KerasTensor(logits.shape, dtype=wide)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": list(self.classes), "temperature": self.temperature}
