"""SimAM: a gate for each element, without parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from excite.attention import parts
from excite.attention.parts import GatedModule


class SimAM(GatedModule):
    """A gate for every element, from how far it stands out of its channel; no parameters.

    output = sigmoid(1 / E) u; 1 / E = (u - mean)^2 / (4 (var + e_lambda)) + 1/2 (eqs. 5 and 6). The variance
    divides by H W - 1, as in the authors' code, though the paper's equation writes H W; a map of one element
    has none, and its gates are sigmoid(1/2).

    Args:
        e_lambda: of eq. 5.
        identity: refused; there is nothing to learn.

    Raises:
        ExciteError: if channels is less than 1, or ``identity``.

    Paper: SimAM, Yang et al., https://proceedings.mlr.press/v139/yang21o.html.
    """

    passes = 4  # mean, variance, division, scale

    def __init__(self, channels: int, *, e_lambda: float = 1e-4, identity: bool = False) -> None:
        super().__init__(channels)
        if identity:
            raise parts.refuse_identity("SimAM")
        self.e_lambda = e_lambda

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        d = (u.to(parts.wide_dtype(u)) - parts.squeeze(u)).square()
        others = parts.at_least_one(u.shape[2] * u.shape[3] - 1)
        variance = d.sum(dim=(2, 3), keepdim=True) / others
        return torch.sigmoid(d / (4 * (variance + self.e_lambda)) + 0.5)
