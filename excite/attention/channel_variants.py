"""Variants that weigh channels: effective SE, ECA, gated channel transformation.

timm has the first two. They are written here all the same: timm squeezes in the dtype of the input and lets
autocast run the gate in half precision, and what it would take to prevent that is longer than they are. Their
parameters have timm's names, so that its weights load.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.attention import parts
from excite.attention.parts import GatedModule
from excite.errors import BAD_USAGE, ExciteError, unknown_name

ESE_GATES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": F.hardsigmoid,
}


def squeeze(u: Tensor) -> Tensor:
    """The mean of each channel in float32 or wider: (N, C, H, W) -> (N, C, 1, 1)."""
    return u.mean(dim=(2, 3), keepdim=True, dtype=parts.wide_dtype(u))


class EffectiveSE(GatedModule):
    """SE with one full layer instead of a bottleneck: s = sigmoid(W_C z), z the mean of each channel.

    Args:
        gate: ``sigmoid``, as the paper writes it; ``hard_sigmoid``, ReLU6(v + 3) / 6, as its code and timm's
            pretrained VoVNets have it.
        identity: start as the identity: W_C and its bias at zero, and the gate doubled.

    Raises:
        ExciteError: for channels under 1 or an unknown gate.

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
        """The convolution's own weights and a zero bias; with ``identity`` zeros."""
        self.fc.reset_parameters()
        nn.init.zeros_(self.fc.bias)  # type: ignore[arg-type]
        if self.identity:
            parts.zero(self.fc)

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 1, 1)."""
        s = ESE_GATES[self.gate_name](parts.apply(self.fc, squeeze(u)))
        return 2 * s if self.identity else s


class ECA(GatedModule):
    """Efficient channel attention: a channel's gate sees its k neighbors, s = sigmoid(conv1d_k(z)).

    k = |log2(C) / gamma + b / gamma|_odd (eq. 12), the nearest odd number, of two the larger.

    Args:
        kernel_size: k itself, odd. timm takes at least 3, which differs from eq. 12 under 8 channels.
        gamma, b: of eq. 12.
        identity: start as the identity: the kernel at zero and the gate doubled.

    Raises:
        ExciteError: for a size under 1, or an even kernel.

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
            raise ExciteError(f"kernel_size must be odd, not {k}", where="ECA", exit_code=BAD_USAGE)
        self.identity = identity
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The convolution's own weights; with ``identity`` zeros."""
        self.conv.reset_parameters()
        if self.identity:
            parts.zero(self.conv)

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 1, 1)."""
        z = squeeze(u).flatten(1).unsqueeze(1)
        v = parts.apply(self.conv, z)
        return parts.gate(v, self.identity).squeeze(1)[:, :, None, None]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, k={self.conv.kernel_size[0]}"


def eca_kernel_size(channels: int, gamma: int = 2, b: int = 1) -> int:
    """The nearest odd number to |log2(C) / gamma + b / gamma| (eq. 12); halfway it is the larger."""
    return 2 * math.floor(abs(math.log2(channels) + b) / gamma / 2) + 1


class GatedChannelTransformation(GatedModule):
    """Channels compete or help each other by their norms: output_c = u_c (1 + tanh(gamma_c t_c + beta_c)).

    e_c = alpha_c sqrt(sum u_c^2 + eps) (eq. 2); t_c = sqrt(C) e_c / sqrt(sum over c of e_c^2 + eps) (eq. 3);
    the gate is eq. 4. Of the paper's two norms this is the one that it recommends, l2. The paper does not
    decay beta.

    Args:
        eps: keeps both roots away from zero.
        identity: says what holds in any case: alpha is one and gamma and beta are zero at the start, as in
            the paper, so that every gate is 1 + tanh(0) = 1.

    Raises:
        ExciteError: for channels under 1.

    Paper: Gated Channel Transformation, Yang et al., https://arxiv.org/abs/1909.11519.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, identity: bool = True) -> None:
        super().__init__(channels)
        self.eps, self.identity = eps, identity
        self.alpha = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def reset_parameters(self) -> None:
        """The paper's start, which is the identity."""
        nn.init.ones_(self.alpha)
        nn.init.zeros_(self.gamma)
        nn.init.zeros_(self.beta)

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 1, 1)."""
        # vector_norm widens while summing, without a float32 copy of the map.
        norm = torch.linalg.vector_norm(u, dim=(2, 3), dtype=parts.wide_dtype(u))
        e = self.alpha * (norm.square() + self.eps).sqrt()
        t = e * (self.channels**0.5 * (e.square().sum(dim=1, keepdim=True) + self.eps).rsqrt())
        return (1 + torch.tanh(self.gamma * t + self.beta))[:, :, None, None]
