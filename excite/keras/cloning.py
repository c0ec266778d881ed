"""Copies of Keras layers with the name and weights of the original."""

from __future__ import annotations

import keras

from excite.errors import ExciteError


def clone_layer(layer: keras.Layer) -> keras.Layer:
    """A new layer of the same class, configuration, and name, with its own weights.

    The automatic configuration of a custom layer holds no name. The copy gets the name of the original,
    because generated names may collide.

    Raises:
        ExciteError: for a layer that cannot be built from its configuration.
    """
    if type(layer) is keras.layers.Lambda:  # its function need not be serialized within one process
        return keras.layers.Lambda(
            layer.function,
            output_shape=layer._output_shape,
            mask=layer.mask,
            arguments=layer.arguments,
            name=layer.name,
            dtype=layer.dtype_policy,
            trainable=layer.trainable,
        )
    try:
        copy = type(layer).from_config(layer.get_config())
    except Exception as error:  # a custom class may raise anything
        reason = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
        what = f"{type(layer).__name__} cannot be built from its configuration: {reason}"
        raise ExciteError(what, where=layer.name, hint="implement get_config in the class") from error
    copy.name = layer.name
    return copy


def copy_weights(layer: keras.Layer, copy: keras.Layer) -> None:
    """Copies the weights of a layer to its built copy.

    Raises:
        ExciteError: if the weights differ in number or shape.
    """
    values = layer.get_weights()
    if [tuple(weight.shape) for weight in copy.weights] != [value.shape for value in values]:
        what = f"a copy of {type(layer).__name__} has weights of other shapes than the original"
        raise ExciteError(
            what,
            where=layer.name,
            hint="its get_config must return every argument that its weights depend on",
        )
    copy.set_weights(values)
