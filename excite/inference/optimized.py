"""An inference-only copy of a network: batch norms folded into convolutions, activations fused into them.

With fixed statistics, a batch norm scales and shifts each channel, and the convolution before it can do both
with its weights (https://arxiv.org/abs/1712.05877, section 3.2). Which convolution precedes which norm is
recorded during one forward pass, so names and families do not matter. The outputs of the copy and the inputs
of its linear layers are compared with those of the network, and a copy that differs is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils.hooks import RemovableHandle

from excite.insertion.copying import deep_copy
from excite.kernels.dispatch import has_no_hooks, kernel_mode
from excite.kernels.norm_gate import uses_means_only
from excite.kernels.prepacked import NO_ACTIVATION, RELU, Activation, clipped_relu
from excite.models.densenet import DenseBlock
from excite.models.fused_blocks import FusedBlock
from excite.models.fused_norms import attention_of, is_batch_norm
from excite.models.optimized_layers import OptimizedAttention, OptimizedBlock, OptimizedConv, OptimizedLayer
from excite.system.evaluation_mode import evaluating

_TOLERANCE = 1e-4  # relative to the largest output
# For each module in the order of its first call: the module that produced the input of each call.
Calls = dict[nn.Module, list[nn.Module | None]]


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
        expected = _recorded_outputs(model, images)
        _optimize(optimized, images)
        same = all(map(_is_close, _recorded_outputs(optimized, images), expected))
    for module in optimized.modules():  # prepared for these images; the next call prepares for its own
        if isinstance(module, OptimizedLayer | DenseBlock):
            module.reset_cache()
    return optimized if same else model


def _optimize(model: nn.Module, images: Tensor) -> None:
    """Fold norms and activations into convolutions, and make each residual block one module, in place."""
    paths = {module: path for path, module in model.named_modules()}

    def replace(old: nn.Module, new: nn.Module) -> None:
        if paths[old]:  # the network itself is not replaced
            model.set_submodule(paths[old], new)
            paths[new] = paths[old]

    calls = _record_calls(model, images)
    activations = _fold_norms(calls, replace)
    for module in calls:
        if _can_defer_activation(module):
            replace(module, OptimizedConv(module, activations.get(module, NO_ACTIVATION)))
        elif uses_means_only(module) and not _is_norm(model.get_submodule(paths[module].rpartition(".")[0])):
            replace(module, OptimizedAttention(module))
    for module in list(model.modules()):
        if isinstance(module, DenseBlock):
            module.keep_prepared_layers()
            for layer in module.values():
                attention = getattr(layer, "attention", None)
                if isinstance(attention, nn.Module) and uses_means_only(attention):
                    layer.attention = OptimizedAttention(attention)
        if isinstance(module, FusedBlock) and (block := _optimized_block(module)):
            replace(module, block)


def _fold_norms(calls: Calls, replace: Callable[[nn.Module, nn.Module], None]) -> dict[nn.Module, Activation]:
    """Fold each norm into the convolution before it, in place.

    Attention or an activation inside the norm takes the norm's place. Returns the activation to fuse into
    each convolution.
    """
    relus = [module for module in calls if isinstance(module, nn.ReLU | nn.ReLU6)]
    relu_after = {producer: relu for relu in relus for producer in calls[relu]}
    activations: dict[nn.Module, Activation] = {}
    for norm in filter(_is_norm, calls):
        conv, *more = calls[norm]
        if more or not isinstance(conv, nn.Conv2d) or len(calls[conv]) > 1:
            continue
        assert norm.running_mean is not None
        assert norm.running_var is not None
        statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
        conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
        conv.requires_grad_(False)
        # timm's norms may contain their activation; norms with inserted attention contain that.
        inner = next(filter(None, (attention_of(norm), getattr(norm, "act", None))), nn.Identity())
        replace(norm, inner)
        relu = relu_after.get(norm) if type(inner) is nn.Identity else inner if inner in relus else None
        if relu is None or not _can_defer_activation(conv):
            continue
        activations[conv] = clipped_relu(relu.max_val) if isinstance(relu, nn.ReLU6) else RELU
        if len(calls[relu]) == 1:  # shared with another place it stays; applied twice, it changes nothing
            replace(relu, nn.Identity())
    return activations


def _record_calls(model: nn.Module, images: Tensor) -> Calls:
    """Run the network and record the calls of modules that can be optimized.

    Dense blocks are left out: they have a kernel for the whole block.
    """
    alive: list[Any] = []  # keeps tensors alive, so that ids stay unique
    producers: dict[tuple[int, int], nn.Module] = {}
    calls: Calls = {}

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        alive.extend(inputs)
        calls.setdefault(module, []).append(producers.get(_version_of(inputs[0])) if inputs else None)

    def after(module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        alive.append(out)
        producers[_version_of(out)] = module

    in_dense_blocks = {
        child for block in model.modules() if isinstance(block, DenseBlock) for child in block.modules()
    }
    handles: list[RemovableHandle] = []
    for module in model.modules():
        known = (
            isinstance(module, nn.Conv2d | nn.ReLU | nn.ReLU6) or _is_norm(module) or uses_means_only(module)
        )
        if known and module not in in_dense_blocks:
            handles += module.register_forward_pre_hook(before), module.register_forward_hook(after)
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _version_of(x: Any) -> tuple[int, int]:
    """Identity of a tensor and its number of in-place changes: x += shortcut is another value than x."""
    return id(x), getattr(x, "_version", 0)


def _is_norm(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether it is a batch norm with statistics: PyTorch's, with inserted attention or without, or timm's.

    timm's includes dropout, which does nothing in evaluation mode, and an activation.
    """
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    has_attention = attention_of(module) is not None and getattr(module, "plain", None) is nn.BatchNorm2d
    known = is_batch_norm(module) or has_attention or name == "timm.layers.norm_act.BatchNormAct2d"
    return known and cast(nn.BatchNorm2d, module).running_mean is not None


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


def _recorded_outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
    """The output and the inputs of all linear layers: a head of zeros would hide every difference."""
    inputs: list[Tensor] = []
    heads = [module for module in model.modules() if isinstance(module, nn.Linear)]
    handles = [head.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for head in heads]
    try:
        output = model(images)
    finally:
        for handle in handles:
            handle.remove()
    return [output, *inputs]


def _is_close(actual: Tensor, expected: Tensor) -> bool:
    largest = float(expected.abs().max())
    return bool((actual - expected).abs().max() <= _TOLERANCE * max(largest, 1e-6))
