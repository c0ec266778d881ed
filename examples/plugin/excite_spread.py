"""Channel attention from the standard deviation of each channel: gates = sigmoid(a * std(u) + b)."""

import torch
from torch import Tensor, nn

import excite


@excite.register("attention", "spread")
class Spread(nn.Module):
    """Maps feature maps (N, channels, H, W) to the same shape."""

    def __init__(self, channels: int, *, slope: float = 1.0) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.full((1, channels, 1, 1), slope))
        self.b = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def gates(self, u: Tensor) -> Tensor:
        std = u.var(dim=(2, 3), keepdim=True, unbiased=False).add(1e-6).sqrt()
        return torch.sigmoid(self.a * std + self.b)

    def forward(self, u: Tensor) -> Tensor:
        return u * self.gates(u)
