"""Weights from PyTorch to Keras and back, by name: a DenseNet with its attention, or one SE block.

Everything is checked before anything is changed: weights go over whole, or are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from excite.errors import ExciteError
from excite.keras.squeeze_excitation import SqueezeExcitation

if TYPE_CHECKING:
    from torch import nn

# Keras's layer name -> PyTorch's module. The groups are numbers; {b} is the block, one less than Keras says.
_NAMES = (
    (r"conv1_conv", "features.conv0"),
    (r"conv1_bn", "features.norm0"),
    (r"conv(\d+)_block(\d+)_0_bn", "features.denseblock{b}.denselayer{n}.norm1"),
    (r"conv(\d+)_block(\d+)_1_conv", "features.denseblock{b}.denselayer{n}.conv1"),
    (r"conv(\d+)_block(\d+)_1_bn", "features.denseblock{b}.denselayer{n}.norm2"),
    (r"conv(\d+)_block(\d+)_2_conv", "features.denseblock{b}.denselayer{n}.conv2"),
    (r"conv(\d+)_block(\d+)_se", "features.denseblock{b}.denselayer{n}.attention"),
    (r"conv(\d+)_se", "features.attention{b}"),
    (r"pool(\d+)_bn", "features.transition{b}.norm"),
    (r"pool(\d+)_conv", "features.transition{b}.conv"),
    (r"pool(\d+)_se", "features.transition{b}.attention"),
    (r"bn", "features.norm5"),
    (r"predictions", "classifier"),
)
# Class of layer -> PyTorch's name in the module, the layer's attribute, and the axes of PyTorch's array in
# Keras's order.
_Arrays = tuple[tuple[str, str, tuple[int, ...]], ...]
_NORM: _Arrays = (
    ("weight", "gamma", (0,)),
    ("bias", "beta", (0,)),
    ("running_mean", "moving_mean", (0,)),
    ("running_var", "moving_variance", (0,)),
)
_ARRAYS: Mapping[type, _Arrays] = {
    keras.layers.Conv2D: (("weight", "kernel", (2, 3, 1, 0)), ("bias", "bias", (0,))),
    keras.layers.Dense: (("weight", "kernel", (1, 0)), ("bias", "bias", (0,))),
    keras.layers.BatchNormalization: _NORM,
    SqueezeExcitation: (
        ("fc1.weight", "fc1_kernel", (1, 0)),
        ("fc1.bias", "fc1_bias", (0,)),
        ("fc2.weight", "fc2_kernel", (1, 0)),
        ("fc2.bias", "fc2_bias", (0,)),
    ),
}
_TORCH_EPSILON = 1e-5  # of torch.nn.BatchNorm2d, which every DenseNet of PyTorch leaves as it is
_UNIMPORTANT = "num_batches_tracked"  # batch norm's count of steps, which Keras does not have

State = Mapping[str, Any]


@dataclass(frozen=True)
class _Pair:
    """One array with its name in PyTorch and its variable in Keras.

    Args:
        axes: of PyTorch's array, in Keras's order.
        more_epsilon: by how much Keras's norm adds more to this variance than PyTorch's does.
    """

    name: str
    variable: Any
    axes: tuple[int, ...]
    more_epsilon: float = 0.0

    @property
    def torch_shape(self) -> tuple[int, ...]:
        return tuple(self.variable.shape[self.axes.index(axis)] for axis in range(len(self.axes)))

    def for_keras(self, array: np.ndarray) -> np.ndarray:
        return self._shifted(array.reshape(self.torch_shape).transpose(self.axes), -self.more_epsilon)

    def for_torch(self) -> np.ndarray:
        array = keras.ops.convert_to_numpy(self.variable)
        return self._shifted(array.transpose(np.argsort(self.axes)), self.more_epsilon)

    def _shifted(self, array: np.ndarray, by: float) -> np.ndarray:
        # What a norm divides by stays: variance + epsilon. A variance stays at least zero; there the input is
        # constant, and what it is divided by makes no difference.
        return np.maximum(array + by, 0).astype(array.dtype) if by else array


def to_keras(source: nn.Module | State | str | Path, target: keras.Model | keras.Layer) -> None:
    """Copies PyTorch's weights into a Keras model, in place.

    Args:
        source: a DenseNet of excite, timm or torchvision, a ``SqueezeExcitation``, the state dict of one, or
            a ``.safetensors`` file.
        target: a DenseNet of ``excite.keras`` or keras.applications, or a built ``SqueezeExcitation``.

    Raises:
        ExciteError: for weights of another architecture or placement, or if some are missing; the target is
            left as it was.
    """
    state = _state_of(source)
    pairs = list(_pairs(target))
    _refuse_strangers(
        {pair.name: pair.torch_shape for pair in pairs},
        {name: tuple(value.shape) for name, value in state.items()},
        "the Keras model",
        "PyTorch's weights",
    )
    arrays = [pair.for_keras(_array(state[pair.name])) for pair in pairs]
    for pair, array in zip(pairs, arrays, strict=True):
        pair.variable.assign(array)


def state_dict(source: keras.Model | keras.Layer) -> dict[str, np.ndarray]:
    """A Keras model's weights under PyTorch's names and in its order of axes.

    Raises: ExciteError for a model with weights that no DenseNet has.
    """
    return {pair.name: np.ascontiguousarray(pair.for_torch()) for pair in _pairs(source)}


def to_torch(source: keras.Model | keras.Layer, target: nn.Module) -> None:
    """Copies a Keras model's weights into a PyTorch model, in place; the reverse of ``to_keras``.

    Raises:
        ExciteError: for weights of another architecture or placement, or if some are missing; the target is
            left as it was.
    """
    import torch

    arrays = state_dict(source)
    wanted = _state_of(target)
    _refuse_strangers(
        {name: tuple(value.shape) for name, value in wanted.items()},
        {name: value.shape for name, value in arrays.items()},
        "the PyTorch model",
        "Keras's weights",
    )
    # Copies: JAX's arrays are read-only, and a bfloat16 of Keras is none that PyTorch reads from NumPy.
    fitting = {
        name: torch.tensor(array.astype(np.float32) if array.dtype.kind == "V" else array).reshape(
            wanted[name].shape
        )
        for name, array in arrays.items()
    }
    target.load_state_dict(fitting, strict=False)  # the counts of steps alone are not there


def _pairs(model: keras.Model | keras.Layer) -> Iterator[_Pair]:
    """Every array of the model. Raises: ExciteError for a layer that no DenseNet has."""
    if isinstance(model, SqueezeExcitation):
        if not model.built:
            raise ExciteError("the layer is not built: call it on a map first", where=model.name)
        yield from _arrays_of(model, "")
        return
    for layer in model.layers:
        if layer.weights:
            yield from _arrays_of(layer, f"{_torch_name(layer)}.")


def _torch_name(layer: keras.Layer) -> str:
    for pattern, name in _NAMES:
        if (match := re.fullmatch(pattern, layer.name)) and type(layer) in _ARRAYS:
            numbers = [int(group) for group in match.groups()]
            fields = dict(zip("bn", numbers, strict=False))
            return name.format(**{**fields, "b": fields.get("b", 0) - 1})
    what = f"layer {layer.name!r} ({type(layer).__name__}) is none of a DenseNet's"
    hint = "DenseNets are converted, and a SqueezeExcitation by itself"
    raise ExciteError(what, where="convert", hint=hint)


def _arrays_of(layer: keras.Layer, prefix: str) -> Iterator[_Pair]:
    for suffix, attribute, axes in _ARRAYS[type(layer)]:
        variable = getattr(layer, attribute)
        if variable is not None:
            variance = attribute == "moving_variance"
            yield _Pair(prefix + suffix, variable, axes, layer.epsilon - _TORCH_EPSILON if variance else 0.0)


def _state_of(source: Any) -> State:
    """PyTorch's tensors by name, without the counts of steps."""
    if isinstance(source, str | Path):
        source = _read(Path(source))
    elif not isinstance(source, Mapping):
        source = source.state_dict()
    return {name: value for name, value in source.items() if not name.endswith(_UNIMPORTANT)}


def _read(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if path.suffix != ".safetensors":
        raise ExciteError("only .safetensors files are read", where=path)
    if not path.is_file():
        raise ExciteError("no such weights file", where=path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ExciteError(f"not a readable safetensors file: {error}", where=path) from error


def _array(value: Any) -> np.ndarray:
    """A tensor of PyTorch, wherever it is and of whatever dtype, as NumPy."""
    if isinstance(value, np.ndarray):
        return value
    value = value.detach().cpu()
    return (value if str(value.dtype) != "torch.bfloat16" else value.float()).numpy()


_Shapes = Mapping[str, tuple[int, ...]]


def _refuse_strangers(wanted: _Shapes, found: _Shapes, model: str, weights: str) -> None:
    """Raises: ExciteError that names what is missing, what is too much and what has another shape."""
    faults = [f"{name} is missing from {weights}" for name in wanted if name not in found]
    faults += [f"{model} has no {name}" for name in found if name not in wanted]
    faults += [
        f"{name} is {found[name]} in {weights}, and {wanted[name]} is wanted"
        for name in wanted
        if name in found and _squeezed(found[name]) != _squeezed(wanted[name])
    ]
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        hint = "the two must be of one architecture, with attention at the same places"
        raise ExciteError("; ".join(faults[:3]) + more, where="convert", hint=hint)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A 1x1 convolution's kernel and a linear map's are the same."""
    return shape[:2] if shape[2:] == (1, 1) else shape
