"""An inference-only copy of a network: batch norms folded into convolutions, activations fused into them.

The outputs of the copy and the inputs of its linear layers are compared with those of the network, and a copy
that differs is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor, nn

from excite.inference.norm_folding import (
    Calls,
    FoldedNorm,
    Submodules,
    fold_norms,
    is_close,
    is_norm,
    record_calls,
    recorded_outputs,
)
from excite.insertion.copying import deep_copy
from excite.kernels.dispatch import has_no_hooks, kernel_mode
from excite.kernels.norm_gate import uses_means_only
from excite.kernels.prepacked import NO_ACTIVATION, RELU, Activation, clipped_relu
from excite.models.densenet import DenseBlock
from excite.models.fused_blocks import FusedBlock
from excite.models.optimized_layers import OptimizedAttention, OptimizedBlock, OptimizedConv, OptimizedLayer
from excite.system.evaluation_mode import evaluating


@torch.inference_mode(False)
@torch.no_grad()
def optimize_for_inference(model: nn.Module, example_images: Tensor) -> nn.Module:
    """A copy in evaluation mode with the same outputs, faster: up to rounding, 1e-4 of the largest output.

    The copy does not follow later changes of the network's weights, computes no gradients, holds its weights
    a second time in the layout of the processor's library, and ignores hooks added to its blocks.

    Args:
        example_images: (N, C, H, W); one is enough. They are used to build the copy and to verify it. The
            copy is fastest for batches of the size that it is called with first.

    Returns:
        The copy; the network itself if it has hooks, if the copy's outputs differ, or with
        EXCITE_KERNELS=off.

    Raises:
        ExciteError: if the network cannot be copied.

    >>> import torch, excite
    >>> model = excite.create_model("cifar_resnet20").eval()
    >>> images = torch.randn(1, 3, 32, 32)
    >>> fast = excite.optimize_for_inference(model, images)
    >>> torch.allclose(fast(images), model(images), atol=1e-4)
    True
    """
    if kernel_mode() == "off" or not has_no_hooks(*model.modules()):
        return model
    # A clone, because tensors of inference mode have no version counter.
    images = example_images.clone(memory_format=torch.channels_last)
    optimized = deep_copy(model).eval().requires_grad_(False)
    with evaluating(model):
        expected = recorded_outputs(model, images)
        _optimize(optimized, images)
        same = all(map(is_close, recorded_outputs(optimized, images), expected))
    for module in optimized.modules():  # prepared for these images; the next call prepares for its own
        if isinstance(module, OptimizedLayer | DenseBlock):
            module.reset_cache()
    return optimized if same else model


def _optimize(model: nn.Module, images: Tensor) -> None:
    """Fold norms and activations into convolutions, and make each residual block one module, in place."""
    # Dense blocks have a kernel for the whole block.
    in_dense_blocks = {
        child for block in model.modules() if isinstance(block, DenseBlock) for child in block.modules()
    }
    modules = Submodules(model)
    calls = record_calls(model, images, uses_means_only, in_dense_blocks)
    activations = _defer_activations(calls, fold_norms(calls, modules), modules)
    for module in calls:
        if _can_defer_activation(module):
            modules.replace(module, OptimizedConv(module, activations.get(module, NO_ACTIVATION)))
        elif uses_means_only(module) and not is_norm(modules.parent(module)):
            modules.replace(module, OptimizedAttention(module))
    for module in list(model.modules()):
        if isinstance(module, DenseBlock):
            module.keep_prepared_layers()
            for layer in module.values():
                attention = getattr(layer, "attention", None)
                if isinstance(attention, nn.Module) and uses_means_only(attention):
                    layer.attention = OptimizedAttention(attention)
        if isinstance(module, FusedBlock) and (block := _optimized_block(module)):
            modules.replace(module, block)


def _defer_activations(
    calls: Calls, folded: Sequence[FoldedNorm], modules: Submodules
) -> dict[nn.Module, Activation]:
    """The activation to fuse into each convolution, instead of a ReLU after its norm."""
    relus = [module for module in calls if isinstance(module, nn.ReLU | nn.ReLU6)]
    relu_after = {producer: relu for relu in relus for producer in calls[relu]}
    activations: dict[nn.Module, Activation] = {}
    for norm, conv, inner in folded:
        relu = relu_after.get(norm) if type(inner) is nn.Identity else inner if inner in relus else None
        if relu is None or not _can_defer_activation(conv):
            continue
        activations[conv] = clipped_relu(relu.max_val) if isinstance(relu, nn.ReLU6) else RELU
        if len(calls[relu]) == 1:  # shared with another place it stays; applied twice, it changes nothing
            modules.replace(relu, nn.Identity())
    return activations


def _can_defer_activation(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether ``OptimizedConv`` can compute it, and its activation with it."""
    if type(module) is not nn.Conv2d or module.weight.dtype != torch.float32:
        return False
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _optimized_block(block: FusedBlock) -> OptimizedBlock | None:
    """The residual block as one module, if only convolutions and channel attention are left in it."""
    if not block.is_unmodified():
        return None
    convolutions = [getattr(block, conv) for conv, *_ in block.layout.layers]
    *norms, gate = (getattr(block, norm) for _, norm, _ in block.layout.layers)
    *_, (_, _, last_activation) = block.layout.layers
    activated = [isinstance(conv, OptimizedConv) and conv.has_activation for conv in convolutions]
    if not isinstance(convolutions[-1], OptimizedConv) or activated != [*(True for _ in norms), False]:
        return None
    if (
        type(gate) not in (nn.Identity, OptimizedAttention)
        or type(getattr(block, last_activation)) is not nn.ReLU
    ):
        return None
    return OptimizedBlock(
        convolutions,
        gate if isinstance(gate, OptimizedAttention) else None,
        getattr(block, "downsample", None),
    )
