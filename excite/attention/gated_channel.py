"""Gated channel transformation: gates from the norms of the channels, with three parameters per channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from excite.attention import parts
from excite.attention.parts import GatedModule


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
        ExciteError: if channels is less than 1.

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
