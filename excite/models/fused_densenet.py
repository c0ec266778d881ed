"""The blocks of a DenseNet as fused operators, if a kernel computes the same as the layers of the block."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

from excite.kernels.dense_block.forward import dense_block
from excite.kernels.dense_block.inference import PreparedLayers
from excite.kernels.dense_block.workspace import is_convolution
from excite.kernels.dispatch import has_no_hooks
from excite.kernels.norm_pool import norm_pool
from excite.models.fused_norms import is_batch_norm
from excite.models.optimized_layers import OptimizedConv


class FusedDenseBlock(nn.ModuleDict):
    """The layers of a dense block, which a kernel can run in one buffer.

    For inference, the layers that the kernel prepares from the weights can be kept between calls.
    """

    prepared_layers: PreparedLayers | None = None  # None: prepared at each call

    def keep_prepared_layers(self) -> None:
        """Keep the prepared layers between calls; the weights must not change until ``train()``."""
        self.prepared_layers = []

    def reset_cache(self) -> None:
        """Prepare the layers again at the next call, for the size of its images."""
        if self.prepared_layers is not None:
            self.prepared_layers = []

    def train(self, mode: bool = True) -> Self:
        if mode:
            self.prepared_layers = None
        return super().train(mode)

    def run_fused(self, x: Tensor, layer_class: type[nn.Module]) -> Tensor | None:
        """(N, C, H, W) -> (N, C + layers x k, H, W); None unless a kernel takes layers of this very class."""
        layers = list(self.values())
        if self.prepared_layers or all(type(layer) is layer_class for layer in layers):
            return dense_block(x, layers, self.prepared_layers)
        return None


def run_fused_transition(transition: nn.Sequential, x: Tensor) -> Tensor | None:
    """The transition with its pooling first, (N, C, H, W) -> (N, out, H // 2, W // 2).

    The 1x1 convolution commutes with average pooling, and after it has a quarter of the pixels. None where no
    kernel takes the input, or where a layer was replaced, added, or has hooks.
    """
    norm, pool = transition.norm, transition.pool
    if not (isinstance(norm, nn.Module) and is_batch_norm(norm) and isinstance(pool, nn.Module)):
        return None
    pooled = norm_pool(x, norm, pool) if _can_pool_first(transition) else None
    if pooled is None:
        return None
    _, _, conv, _, *attention = transition
    x = conv(pooled)
    for module in attention:
        x = module(x)
    return x


def _can_pool_first(transition: nn.Sequential) -> bool:
    """Whether the layers are those the transition was built with."""
    names = list(dict(transition.named_children()))
    if names not in (["norm", "relu", "conv", "pool"], ["norm", "relu", "conv", "pool", "attention"]):
        return False
    conv = transition.conv
    if isinstance(conv, OptimizedConv) and not conv.has_activation:
        conv = conv.conv
    return (
        type(transition.relu) is nn.ReLU
        and isinstance(conv, nn.Module)
        and is_convolution(conv, 1)
        and has_no_hooks(*transition.children())
    )
