"""Efficient channel attention: each gate depends on neighboring channels only.

timm has it too, but squeezes in the dtype of the input and lets autocast run the gate in half precision. The
parameters have timm's names, so that its weights load.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from excite.attention import parts
from excite.attention.parts import GatedModule
from excite.errors import BAD_USAGE, ExciteError


class ECA(GatedModule):
    """Efficient channel attention: a channel's gate sees its k neighbors, s = sigmoid(conv1d_k(z)).

    k = |log2(C) / gamma + b / gamma|_odd (eq. 12), the nearest odd number, of two the larger.

    Args:
        kernel_size: k itself, odd. timm takes at least 3, which differs from eq. 12 under 8 channels.
        gamma, b: of eq. 12.
        identity: start as the identity: the kernel at zero and the gate doubled.

    Raises:
        ExciteError: if a size is less than 1, or an even kernel.

    Paper: ECA-Net, Wang et al., https://arxiv.org/abs/1910.03151.
    """

    uses_means_only = True

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int | None = None,
        gamma: int = 2,
        b: int = 1,
        identity: bool = False,
    ) -> None:
        super().__init__(channels, gamma=gamma, kernel_size=1 if kernel_size is None else kernel_size)
        k = eca_kernel_size(channels, gamma, b) if kernel_size is None else kernel_size
        if k % 2 == 0:
            raise ExciteError(f"kernel_size must be odd, got {k}", where="ECA", exit_code=BAD_USAGE)
        self.identity = identity
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize weights as ``nn.Conv1d`` does; with ``identity``, to zero."""
        self.conv.reset_parameters()
        if self.identity:
            parts.zero(self.conv)

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 1, 1)."""
        z = parts.squeeze(u).flatten(1).unsqueeze(1)
        v = parts.apply(self.conv, z)
        return parts.gate(v, self.identity).squeeze(1)[:, :, None, None]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, k={self.conv.kernel_size[0]}"


def eca_kernel_size(channels: int, gamma: int = 2, b: int = 1) -> int:
    """The nearest odd number to |log2(C) / gamma + b / gamma| (eq. 12); halfway it is the larger."""
    return 2 * math.floor(abs(math.log2(channels) + b) / gamma / 2) + 1
