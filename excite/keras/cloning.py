"""Copies of Keras layers, each with the name and the weights of its original."""

from __future__ import annotations

import keras

from excite.errors import ExciteError


def clone_layer(layer: keras.Layer) -> keras.Layer:
    """A layer of the same class, configuration and name, with weights of its own.

    A custom layer's automatic configuration has no name, so the copy is given the original's: copies that
    are looked up by a generated name may be taken for each other.

    Raises:
        ExciteError: for a layer that cannot be built from its configuration.
    """
    if type(layer) is keras.layers.Lambda:  # its function needs no serializing within one process
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
        raise ExciteError(what, where=layer.name, hint="give the class a get_config") from error
    copy.name = layer.name
    return copy


def copy_weights(layer: keras.Layer, copy: keras.Layer) -> None:
    """Give a built copy the values of its original.

    Raises:
        ExciteError: if their weights differ in number or shape.
    """
    values = layer.get_weights()
    if [tuple(weight.shape) for weight in copy.weights] != [value.shape for value in values]:
        what = f"a copy of {type(layer).__name__} has other weights than the layer itself"
        raise ExciteError(what, where=layer.name, hint="its get_config leaves out what its weights depend on")
    copy.set_weights(values)
