"""The last layer of an exported classifier: logits to probabilities that know their classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="excite")
class ClassProbabilities(keras.layers.Layer):
    """softmax(logits / temperature), in float32 or wider: (N, classes) -> (N, classes).

    Args:
        classes: their names, in the order of the outputs; they are saved with the model.
        temperature: what logits are divided by, so that probabilities are calibrated.
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
