"""Effective Squeeze-and-Excitation: one full layer in place of the bottleneck.

timm has it too, but squeezes in the dtype of the input and lets autocast run the gate in half precision. The
parameters have timm's names, so that its weights load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.attention import parts
from excite.attention.parts import GatedModule
from excite.errors import unknown_name

ESE_GATES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": F.hardsigmoid,
}


class EffectiveSE(GatedModule):
    """SE with one full layer instead of a bottleneck: s = sigmoid(W_C z), z the mean of each channel.

    Args:
        gate: ``sigmoid``, as the paper writes it; ``hard_sigmoid``, ReLU6(v + 3) / 6, as its code and timm's
            pretrained VoVNets have it.
        identity: start as the identity: W_C and its bias at zero, and the gate doubled.

    Raises:
        ExciteError: if channels is less than 1 or an unknown gate.

    Paper: CenterMask, Lee and Park, https://arxiv.org/abs/1911.06667, section 3.4.
    """

    uses_means_only = True

    def __init__(self, channels: int, *, gate: str = "sigmoid", identity: bool = False) -> None:
        super().__init__(channels)
        if gate not in ESE_GATES:
            raise unknown_name("gate", gate, ESE_GATES)
        self.gate_name, self.identity = gate, identity
        self.fc = nn.Conv2d(channels, channels, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize weights as the layer does, biases to zero; with ``identity``, all to zero."""
        self.fc.reset_parameters()
        nn.init.zeros_(self.fc.bias)  # type: ignore[arg-type]
        if self.identity:
            parts.zero(self.fc)

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 1, 1)."""
        s = ESE_GATES[self.gate_name](parts.apply(self.fc, parts.squeeze(u)))
        return 2 * s if self.identity else s
