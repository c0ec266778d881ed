"""A gate with fixed values: attention whose output does not depend on its input."""

from __future__ import annotations

from torch import Tensor

from excite.attention.parts import GatedModule


class FixedGate(GatedModule):
    """Attention that has come to rest: each channel times one number that no image changes."""

    passes = 1

    def __init__(self, gate: Tensor) -> None:
        super().__init__(len(gate))
        self.gate: Tensor
        self.register_buffer("gate", gate)

    def gates(self, u: Tensor) -> Tensor:
        """(C,) -> (1, C, 1, 1)."""
        return self.gate[None, :, None, None]
