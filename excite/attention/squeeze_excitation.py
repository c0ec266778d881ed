"""Squeeze-and-Excitation: squeeze, excite, scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from excite.attention import parts
from excite.attention.width import hidden_width, require_positive
from excite.errors import unknown_name

SQUEEZES = ("avg", "max")
GATES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
}
# The same functions, scaled or shifted so that gate(0) is exactly one.
IDENTITY_GATES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda v: 2 * torch.sigmoid(v),
    "tanh": lambda v: 1 + torch.tanh(v),
    "relu": lambda v: torch.relu(1 + v),
}


class SqueezeExcitation(nn.Module):
    """Multiply each channel by a gate that is computed from the means of all channels.

    For a feature map u of shape (N, C, H, W)::

        z_c = mean of u_c over H and W        (eq. 2, squeeze)
        s = sigmoid(W2 ReLU(W1 z))            (eq. 3, excitation)
        output_c = s_c u_c                    (eq. 4, scale)

    W1 is the linear layer ``fc1``, from C channels to C / r hidden units; W2 is ``fc2``, back to C. The
    output has the shape, dtype, and memory format of u. Squeeze and excitation run in float32, even under
    autocast (in float64 for a float64 input). ``load_state_dict`` accepts 1x1 convolutions for ``fc1`` and
    ``fc2``. Not a ``GatedModule``, because its steps are methods named as in the paper.

    Args:
        channels: C, the number of channels of the input.
        reduction: r; there are max(1, C // r) hidden units.
        divisor: round the number of hidden units to the nearest multiple of this number.
        squeeze: ``avg``, the mean of a channel; or ``max``, its maximum, as in the paper's table 11.
        gate: ``sigmoid``; or ``tanh`` or ``relu``, as in the paper's table 12.
        bias: whether the two linear layers have biases, which are initialized to zero.
        identity: initialize every gate to exactly one, so that the output equals the input: ``fc2`` is
            initialized to zero, and the gate is 2 sigmoid(v), 1 + tanh(v), or ReLU(1 + v). This differs from
            the paper, whose gates start near one half.

    Raises:
        ExciteError: if ``channels``, ``reduction``, or ``divisor`` is less than 1, or ``squeeze`` or ``gate``
            is not one of the names above.

    Paper: Squeeze-and-Excitation Networks, Hu et al., https://arxiv.org/abs/1709.01507.

    Example:
        >>> attention = SqueezeExcitation(64, reduction=16, identity=True)
        >>> features = torch.randn(2, 64, 7, 7)
        >>> torch.equal(attention(features), features)
        True
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        divisor: int = 1,
        squeeze: str = "avg",
        gate: str = "sigmoid",
        bias: bool = True,
        identity: bool = False,
    ) -> None:
        super().__init__()
        require_positive("SqueezeExcitation", channels=channels, reduction=reduction, divisor=divisor)
        if squeeze not in SQUEEZES:
            raise unknown_name("squeeze", squeeze, SQUEEZES)
        if gate not in GATES:
            raise unknown_name("gate", gate, GATES)
        hidden = hidden_width(channels, reduction, divisor)
        self.channels, self.hidden_channels = channels, hidden
        self.squeeze_name, self.gate_name, self.identity = squeeze, gate, identity
        self.fc1 = nn.Linear(channels, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, channels, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize weights as ``nn.Linear`` does, biases to zero; with ``identity``, ``fc2`` to zero."""
        for layer in (self.fc1, self.fc2):
            layer.reset_parameters()
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if self.identity:
            nn.init.zeros_(self.fc2.weight)

    @property
    def uses_means_only(self) -> bool:
        """Whether the gates depend on the channel means (N, C, 1, 1) only."""
        return self.squeeze_name == "avg"

    def squeeze(self, u: Tensor) -> Tensor:
        """The mean or maximum of each channel (eq. 2): (N, C, H, W) -> (N, C), float32 or float64."""
        wide = parts.wide_dtype(u)
        if self.squeeze_name == "max":
            return u.amax(dim=(2, 3)).to(wide)
        # dtype= converts before the sum, which would overflow in float16 at 65504.
        return u.mean(dim=(2, 3), dtype=wide)

    def excite(self, z: Tensor) -> Tensor:
        """The gates (eq. 3) from the squeezed channels z: (N, C) -> (N, C), in float32 or float64."""
        function = (IDENTITY_GATES if self.identity else GATES)[self.gate_name]
        return function(parts.apply(self.fc2, torch.relu(parts.apply(self.fc1, z))))

    def gates(self, u: Tensor) -> Tensor:
        """The gates of a feature map: (N, C, H, W) -> (N, C, 1, 1)."""
        return self.excite(self.squeeze(u))[:, :, None, None]

    def scale(self, u: Tensor, s: Tensor) -> Tensor:
        """Multiply u by its gates s (eq. 4): (N, C, H, W), (N, C) -> (N, C, H, W), in the dtype of u."""
        return u * s.to(u.dtype)[:, :, None, None]

    def forward(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W), same dtype and memory format."""
        return self.scale(u, self.excite(self.squeeze(u)))

    def elementwise_multiply_adds(self, input_shape: Sequence[int]) -> int:
        """Multiply-adds of squeeze and scale for one image: one to pool and one to scale each element.

        The two linear layers are not included, because FLOP counters count them.
        """
        return 2 * math.prod(input_shape[-3:])

    def extra_repr(self) -> str:
        identity = ", identity=True" if self.identity else ""
        return (
            f"{self.channels}, hidden={self.hidden_channels}, squeeze={self.squeeze_name}, "
            f"gate={self.gate_name}{identity}"
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Accept the 1x1 convolutions of timm and torchvision as linear weights."""
        for layer in ("fc1", "fc2"):
            weight = state_dict.get(f"{prefix}{layer}.weight")
            if weight is not None and weight.shape[2:] == (1, 1):
                state_dict[f"{prefix}{layer}.weight"] = weight.flatten(1)
        super()._load_from_state_dict(state_dict, prefix, *args)
