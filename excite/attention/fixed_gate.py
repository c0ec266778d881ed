"""Constant gates: attention whose gates do not depend on the image."""

from __future__ import annotations

from torch import Tensor

from excite.attention.parts import GatedModule


class FixedGate(GatedModule):
    """Multiply each channel by a constant: (N, C, H, W) -> (N, C, H, W)."""

    passes = 1

    def __init__(self, gate: Tensor) -> None:
        super().__init__(len(gate))
        self.gate: Tensor
        self.register_buffer("gate", gate)

    def gates(self, u: Tensor) -> Tensor:
        """(C,) -> (1, C, 1, 1)."""
        return self.gate[None, :, None, None]
