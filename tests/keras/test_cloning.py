"""Copies of custom layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from excite.errors import ExciteError
from excite.keras import SqueezeExcitation, insert
from tests.keras.nets import MAPS, in_keras


@keras.saving.register_keras_serializable()
class Scaled(keras.layers.Layer):
    """A custom layer with a layer of its own; its automatic configuration has no name."""

    def __init__(self, factor: float, **options: Any) -> None:
        super().__init__(**options)
        self.factor, self.conv = factor, keras.layers.Conv2D(8, 3, padding="same")

    def call(self, x: Any) -> Any:
        return self.conv(x) * self.factor


def after_custom_layers(order: tuple[int, int]) -> keras.Model:
    """A network with two custom layers; afterwards, generated names begin at the first one again."""
    keras.backend.clear_session()
    layers = [Scaled(1.0), Scaled(2.0)]
    images = keras.Input((9, 9, 8))
    x = layers[order[1]](keras.layers.ReLU()(layers[order[0]](images)))
    x = keras.layers.Conv2D(8, 3, name="c")(keras.layers.Lambda(lambda t: t * 2)(x))
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))
    keras.backend.clear_session()
    return model


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_custom_layers_keep_their_own_weights_and_names(order: tuple[int, int]) -> None:
    model = after_custom_layers(order)
    gated = insert(model, "se", where="c", reduction=2, identity=True)
    np.testing.assert_array_equal(in_keras(gated, MAPS), in_keras(model, MAPS))
    names = [layer.name for layer in gated.layers if not isinstance(layer, SqueezeExcitation)]
    assert names == [layer.name for layer in model.layers]


@pytest.mark.once
def test_a_layer_without_a_configuration_is_refused() -> None:
    class Opaque(keras.layers.Layer):
        def __init__(self, function: Callable[[Any], Any]) -> None:
            super().__init__()
            self.function = function

        def call(self, x: Any) -> Any:
            return self.function(x)

    images = keras.Input((9, 9, 8))
    x = keras.layers.Conv2D(8, 3, name="c")(Opaque(lambda t: t)(images))
    with pytest.raises(ExciteError, match="get_config"):
        insert(keras.Model(images, x), "se", where="c", reduction=2)
