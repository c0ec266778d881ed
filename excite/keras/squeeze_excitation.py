"""Squeeze-and-Excitation as a Keras layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from excite.attention.width import hidden_width, require_positive
from excite.errors import ExciteError, require, unknown_name

SQUEEZES = ("avg", "max")
DATA_FORMATS = ("channels_last", "channels_first")
GATES: Mapping[str, Callable[[Any], Any]] = {
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "relu": ops.relu,
}
# The same functions, shifted or scaled to map zero to exactly one.
IDENTITY_GATES: Mapping[str, Callable[[Any], Any]] = {
    "sigmoid": lambda v: 2 * ops.sigmoid(v),
    "tanh": lambda v: 1 + ops.tanh(v),
    "relu": lambda v: ops.relu(1 + v),
}


@keras.saving.register_keras_serializable(package="excite")
class SqueezeExcitation(keras.layers.Layer):
    """Multiplies each channel by a gate computed from all channels: (N, H, W, C) -> (N, H, W, C).

    z_c = mean over H x W of u_c (eq. 2); s = gate(W2 ReLU(W1 z)) (eq. 3); output_c = s_c u_c (eq. 4).
    Squeeze and excitation are computed in float32 or wider, also in mixed precision; the output has the
    layer's compute dtype. Options, defaults, and initial weights are those of ``excite.SqueezeExcitation``.

    Args:
        reduction: r; the hidden width is max(1, C // r).
        divisor: round the hidden width to the nearest multiple of this, at least one multiple.
        squeeze: ``avg``, or ``max`` as in the ablation (table 11).
        gate: ``sigmoid``, or ``tanh`` or ``relu`` as in the ablation (table 12).
        bias: whether the two linear layers have biases; they start at zero.
        identity: start as the identity: the second linear layer starts at zero, and the gate is 2 sigmoid(v),
            1 + tanh(v), or ReLU(1 + v), so that every gate is exactly one before the first step.
        data_format: ``channels_last``, or ``channels_first`` for (N, C, H, W); by default Keras's setting.
        kwargs: options of every Keras layer: ``name``, ``dtype``, ``trainable``.

    Raises:
        ExciteError: for a reduction or divisor below 1, an unknown squeeze, gate, or data format, or an input
            that is not a feature map with a known number of channels.

    Paper: Squeeze-and-Excitation Networks, Hu et al., https://arxiv.org/abs/1709.01507.

    Example:
        >>> layer = SqueezeExcitation(reduction=4, identity=True)
        >>> tuple(layer(keras.ops.ones((2, 5, 5, 8))).shape)
        (2, 5, 5, 8)
    """

    def __init__(
        self,
        reduction: int = 16,
        *,
        divisor: int = 1,
        squeeze: str = "avg",
        gate: str = "sigmoid",
        bias: bool = True,
        identity: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require_positive("SqueezeExcitation", reduction=reduction, divisor=divisor)
        data_format = data_format or keras.config.image_data_format()
        if squeeze not in SQUEEZES:
            raise unknown_name("squeeze", squeeze, SQUEEZES)
        if gate not in GATES:
            raise unknown_name("gate", gate, GATES)
        if data_format not in DATA_FORMATS:
            raise unknown_name("data format", data_format, DATA_FORMATS)
        self.reduction, self.divisor = reduction, divisor
        self.squeeze_name, self.gate_name = squeeze, gate
        self.bias, self.identity = bias, identity
        self.data_format = data_format
        self.channel_axis = 3 if data_format == "channels_last" else 1

    def build(self, input_shape: Sequence[int | None]) -> None:
        rule = f"expected a feature map (N, H, W, C) or (N, C, H, W), got {tuple(input_shape)}"
        require(len(input_shape) == 4, rule, where=self.name)
        channels = input_shape[self.channel_axis]
        if channels is None:
            raise ExciteError("the number of channels must be known", where=self.name)
        hidden = hidden_width(channels, self.reduction, self.divisor)
        self.channels, self.hidden_channels = channels, hidden
        # As torch.nn.Linear: uniform within 1 / sqrt(fan in).
        linear = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        self.fc1_kernel = self._parameter("fc1_kernel", (channels, hidden), linear)
        self.fc1_bias = self._parameter("fc1_bias", (hidden,), "zeros") if self.bias else None
        second = "zeros" if self.identity else linear.clone()
        self.fc2_kernel = self._parameter("fc2_kernel", (hidden, channels), second)
        self.fc2_bias = self._parameter("fc2_bias", (channels,), "zeros") if self.bias else None

    def squeeze(self, u: Any) -> Any:
        """One value per channel (eq. 2): (N, H, W, C) -> (N, C), in float32 or wider."""
        wide = keras.backend.result_type(u.dtype, "float32")
        space = (1, 2) if self.data_format == "channels_last" else (2, 3)
        if self.squeeze_name == "max":
            return ops.cast(ops.max(u, axis=space), wide)
        # Cast before the sum, which in float16 would overflow at 65504.
        return ops.mean(ops.cast(u, wide), axis=space)

    def excite(self, z: Any) -> Any:
        """The gates (eq. 3): (N, C) -> (N, C), in the dtype of z."""
        gate = (IDENTITY_GATES if self.identity else GATES)[self.gate_name]
        hidden = ops.relu(_linear(z, self.fc1_kernel, self.fc1_bias))
        return gate(_linear(hidden, self.fc2_kernel, self.fc2_bias))

    def gates(self, u: Any) -> Any:
        """(N, H, W, C) -> (N, 1, 1, C), or (N, C, 1, 1): squeeze, then excite."""
        s = self.excite(self.squeeze(u))
        return ops.expand_dims(s, (1, 2) if self.data_format == "channels_last" else (2, 3))

    def call(self, u: Any) -> Any:
        """Each channel times its gate (eq. 4), in the dtype of u."""
        return u * ops.cast(self.gates(u), u.dtype)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "reduction": self.reduction,
            "divisor": self.divisor,
            "squeeze": self.squeeze_name,
            "gate": self.gate_name,
            "bias": self.bias,
            "identity": self.identity,
            "data_format": self.data_format,
        }

    def _parameter(self, name: str, shape: tuple[int, ...], start: Any) -> Any:
        # Without autocast, which would compute with half-precision weights under mixed precision.
        return self.add_weight(name=name, shape=shape, initializer=start, autocast=False)


def _linear(x: Any, kernel: Any, bias: Any | None) -> Any:
    y = ops.matmul(x, ops.cast(kernel, x.dtype))
    return y if bias is None else y + ops.cast(bias, x.dtype)
