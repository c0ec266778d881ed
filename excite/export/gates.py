"""Squeeze-and-Excitation as convolutions, for runtimes that fuse these."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from excite.attention.parts import is_plain_layer
from excite.attention.squeeze_excitation import IDENTITY_GATES, SqueezeExcitation


class ConvolutionGates(nn.Module):
    """The same function as ``SqueezeExcitation``, in evaluation mode and float32.

    The two linear layers are 1x1 convolutions of the pooled map (N, C, 1, 1), which stays in the layout of
    the convolutions around it.
    """

    def __init__(self, attention: SqueezeExcitation) -> None:
        super().__init__()
        self.fc1, self.fc2 = _convolution(attention.fc1), _convolution(attention.fc2)
        self.gate_name, self.identity = attention.gate_name, attention.identity
        self.squeeze_name = attention.squeeze_name

    def forward(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        z = u.amax((2, 3), keepdim=True) if self.squeeze_name == "max" else u.mean((2, 3), keepdim=True)
        v = self.fc2(torch.relu(self.fc1(z)))
        if self.identity:
            return u * IDENTITY_GATES[self.gate_name](v)
        return u * getattr(torch, self.gate_name)(v)


def with_convolution_gates(model: nn.Module) -> nn.Module:
    """Replace each plain ``SqueezeExcitation`` of a network, in place; returns the network."""
    for path, module in list(model.named_modules()):
        if type(module) is SqueezeExcitation and is_plain_layer(module.fc1) and is_plain_layer(module.fc2):
            model.set_submodule(path, ConvolutionGates(module))
    return model


def _convolution(layer: nn.Linear) -> nn.Conv2d:
    convolution = nn.Conv2d(layer.in_features, layer.out_features, 1, bias=layer.bias is not None)
    convolution.weight = nn.Parameter(layer.weight.detach()[:, :, None, None].clone(), requires_grad=False)
    if layer.bias is not None:
        convolution.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
    return convolution
