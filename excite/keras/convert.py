"""Converts weights between PyTorch and Keras by name, for DenseNets with attention and for single SE blocks.

All names and shapes are checked before any weight changes.
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

# Layer name in Keras -> module in PyTorch. The groups are numbers; {b}, the block, is one less than in Keras.
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
# Class of layer -> parameter name in PyTorch, attribute of the layer, and the axes of PyTorch's array in the
# order of Keras.
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
_TORCH_EPSILON = 1e-5  # default of torch.nn.BatchNorm2d, which all DenseNets in PyTorch use
_STEP_COUNT = "num_batches_tracked"  # of batch norms; Keras has none

State = Mapping[str, Any]


@dataclass(frozen=True)
class _Pair:
    """A parameter: its name in PyTorch and its variable in Keras.

    Args:
        axes: the axes of PyTorch's array in the order of Keras.
        extra_epsilon: for a variance, the epsilon of the Keras layer minus that of PyTorch.
    """

    name: str
    variable: Any
    axes: tuple[int, ...]
    extra_epsilon: float = 0.0

    @property
    def torch_shape(self) -> tuple[int, ...]:
        return tuple(self.variable.shape[self.axes.index(axis)] for axis in range(len(self.axes)))

    def for_keras(self, array: np.ndarray) -> np.ndarray:
        return self._shifted(array.reshape(self.torch_shape).transpose(self.axes), -self.extra_epsilon)

    def for_torch(self) -> np.ndarray:
        array = keras.ops.convert_to_numpy(self.variable)
        return self._shifted(array.transpose(np.argsort(self.axes)), self.extra_epsilon)

    def _shifted(self, array: np.ndarray, by: float) -> np.ndarray:
        # variance + epsilon must not change. Clipped at zero: there the input is constant, and the divisor
        # has no effect.
        return np.maximum(array + by, 0).astype(array.dtype) if by else array


def to_keras(source: nn.Module | State | str | Path, target: keras.Model | keras.Layer) -> None:
    """Copies PyTorch weights into a Keras model in place.

    Args:
        source: a DenseNet of excite, timm, or torchvision, a ``SqueezeExcitation``, a state dict of either,
            or a ``.safetensors`` file.
        target: a DenseNet of ``excite.keras`` or keras.applications, or a built ``SqueezeExcitation``.

    Raises:
        ExciteError: for missing weights, or those of another architecture or placement; the target does not
            change.

    Example:
        >>> from excite.models.densenet import DenseNet
        >>> from excite.keras.densenet import build
        >>> config = {"growth_rate": 4, "block_config": (2, 2), "init_channels": 8, "num_classes": 5}
        >>> to_keras(DenseNet(**config), build(**config, image_size=32))
    """
    state = _state_of(source)
    pairs = list(_pairs(target))
    _require_matching(
        {pair.name: pair.torch_shape for pair in pairs},
        {name: tuple(value.shape) for name, value in state.items()},
        "the Keras model",
        "the PyTorch weights",
    )
    arrays = [pair.for_keras(_array(state[pair.name])) for pair in pairs]
    for pair, array in zip(pairs, arrays, strict=True):
        pair.variable.assign(array)


def state_dict(source: keras.Model | keras.Layer) -> dict[str, np.ndarray]:
    """The weights of a Keras model under PyTorch's names and in PyTorch's axis order.

    Raises:
        ExciteError: for a model that is neither a DenseNet nor a ``SqueezeExcitation``.
    """
    return {pair.name: np.ascontiguousarray(pair.for_torch()) for pair in _pairs(source)}


def to_torch(source: keras.Model | keras.Layer, target: nn.Module) -> None:
    """Copies the weights of a Keras model into a PyTorch model in place; the reverse of ``to_keras``.

    Raises:
        ExciteError: for missing weights, or those of another architecture or placement; the target does not
            change.
    """
    import torch

    arrays = state_dict(source)
    expected = _state_of(target)
    _require_matching(
        {name: tuple(value.shape) for name, value in expected.items()},
        {name: value.shape for name, value in arrays.items()},
        "the PyTorch model",
        "the Keras weights",
    )
    # Copies, because JAX's arrays are read-only; float32, because PyTorch cannot read Keras's bfloat16
    # arrays.
    tensors = {
        name: torch.tensor(array.astype(np.float32) if array.dtype.kind == "V" else array).reshape(
            expected[name].shape
        )
        for name, array in arrays.items()
    }
    target.load_state_dict(tensors, strict=False)  # only the step counts are missing


def _pairs(model: keras.Model | keras.Layer) -> Iterator[_Pair]:
    """Every parameter of the model. Raises: ExciteError for a layer that no DenseNet has."""
    if isinstance(model, SqueezeExcitation):
        if not model.built:
            raise ExciteError("the layer is not built: call it on a feature map first", where=model.name)
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
    what = f"layer {layer.name!r} ({type(layer).__name__}) does not belong to a DenseNet"
    hint = "only DenseNets and single SqueezeExcitation layers can be converted"
    raise ExciteError(what, where="convert", hint=hint)


def _arrays_of(layer: keras.Layer, prefix: str) -> Iterator[_Pair]:
    for suffix, attribute, axes in _ARRAYS[type(layer)]:
        variable = getattr(layer, attribute)
        if variable is not None:
            variance = attribute == "moving_variance"
            yield _Pair(prefix + suffix, variable, axes, layer.epsilon - _TORCH_EPSILON if variance else 0.0)


def _state_of(source: Any) -> State:
    """PyTorch's tensors by name, without the step counts."""
    if isinstance(source, str | Path):
        source = _read(Path(source))
    elif not isinstance(source, Mapping):
        source = source.state_dict()
    return {name: value for name, value in source.items() if not name.endswith(_STEP_COUNT)}


def _read(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if path.suffix != ".safetensors":
        raise ExciteError("only .safetensors files are supported", where=path)
    if not path.is_file():
        raise ExciteError("the weights file does not exist", where=path)
    try:
        state: State = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ExciteError(f"not a readable safetensors file: {error}", where=path) from error
    return state


def _array(value: Any) -> np.ndarray:
    """A PyTorch tensor of any device and dtype as a NumPy array."""
    if isinstance(value, np.ndarray):
        return value
    value = value.detach().cpu()
    array: np.ndarray = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    return array


_Shapes = Mapping[str, tuple[int, ...]]


def _require_matching(expected: _Shapes, actual: _Shapes, model: str, weights: str) -> None:
    """Raises: ExciteError that lists missing weights, unexpected ones, and those of another shape."""
    errors = [f"{name} is missing from {weights}" for name in expected if name not in actual]
    errors += [f"{model} has no {name}" for name in actual if name not in expected]
    errors += [
        f"{name} has shape {actual[name]} in {weights}, expected {expected[name]}"
        for name in expected
        if name in actual and _squeezed(actual[name]) != _squeezed(expected[name])
    ]
    if errors:
        more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
        hint = "both must have the same architecture, with attention at the same places"
        raise ExciteError("; ".join(errors[:3]) + more, where="convert", hint=hint)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a 1x1 convolution's kernel as that of a linear layer's; others do not change."""
    return shape[:2] if shape[2:] == (1, 1) else shape
