"""A copy of a network that only answers: norms in its convolutions, ReLUs in their products.

A batch norm that has its statistics is a scale and a shift of each channel, and a convolution before it can
have both in its weights (https://arxiv.org/abs/1712.05877, section 3.2). Which convolution stands before
which norm is seen while the network answers once, so names and families do not matter; what the copy answers,
and what its linear layers see, is compared with the network, and a copy that differs is not used.
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
from excite.models.fused_blocks import FusedBlock, attention_of, is_batch_norm
from excite.models.optimized_layers import OptimizedAttention, OptimizedBlock, OptimizedConv, OptimizedLayer
from excite.system.evaluation_mode import evaluating

_TOLERANCE = 1e-4  # of the largest output
# For each module that was called, what made the input of each call.
Calls = dict[nn.Module, list[nn.Module | None]]


@torch.inference_mode(False)
@torch.no_grad()
def optimize_for_inference(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy in evaluation mode with the same answers; or the network itself where a copy answers otherwise.

    It does not follow the network's weights when they change, gives no gradients, keeps its weights a second
    time as the processor multiplies with them, and calls no hooks that are put into its blocks. A network
    with hooks, and any with EXCITE_KERNELS=off, answers itself.

    Args:
        images: (N, 3, H, W), one will do: the copy is made by what happens to them, and checked with them.
            It is fastest for as many and as large ones as it is asked first.
    """
    if kernel_mode() == "off" or not has_no_hooks(*model.modules()):
        return model
    images = images.clone(memory_format=torch.channels_last)  # none of inference mode, which counts no writes
    made = deep_copy(model).eval().requires_grad_(False)
    with evaluating(model):
        expected = _recorded_outputs(model, images)
        _optimize(made, images)
        same = all(map(_is_close, _recorded_outputs(made, images), expected))
    for module in made.modules():  # ready for the check's images, now for what comes
        if isinstance(module, OptimizedLayer | DenseBlock):
            module.forget()
    return made if same else model


def _optimize(model: nn.Module, images: Tensor) -> None:
    """Norms into the convolutions before them, then ReLUs; residual blocks in one go; all in place."""
    paths = {module: path for path, module in model.named_modules()}

    def put(there: nn.Module, module: nn.Module) -> None:
        if paths[there]:  # what is the network itself stays
            model.set_submodule(paths[there], module)
            paths[module] = paths[there]

    calls = _record_calls(model, images)
    after = _fold(calls, put)
    for module in calls:
        if _can_defer_activation(module):
            put(module, OptimizedConv(module, after.get(module, NO_ACTIVATION)))
        elif uses_means_only(module) and not _is_norm(model.get_submodule(paths[module].rpartition(".")[0])):
            put(module, OptimizedAttention(module))
    for module in list(model.modules()):
        if isinstance(module, DenseBlock):
            module.keep_prepared_layers()
            for layer in module.values():
                attention = getattr(layer, "attention", None)
                if isinstance(attention, nn.Module) and uses_means_only(attention):
                    layer.attention = OptimizedAttention(attention)
        if isinstance(module, FusedBlock) and (block := _optimized_block(module)):
            put(module, block)


def _fold(calls: Calls, put: Callable[[nn.Module, nn.Module], None]) -> dict[nn.Module, Activation]:
    """Puts norms into the convolutions before them, and what was after the norm into its place; returns the
    activations that go into a convolution."""
    relus = [module for module in calls if isinstance(module, nn.ReLU | nn.ReLU6)]
    relu_after = {made: relu for relu in relus for made in calls[relu]}
    after: dict[nn.Module, Activation] = {}
    for norm in filter(_is_norm, calls):
        conv, *more = calls[norm]
        if more or not isinstance(conv, nn.Conv2d) or len(calls[conv]) > 1:
            continue
        assert norm.running_mean is not None
        assert norm.running_var is not None
        statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
        conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
        conv.requires_grad_(False)
        # timm's norms have their activation in them, ours their attention.
        behind = next(filter(None, (attention_of(norm), getattr(norm, "act", None))), nn.Identity())
        put(norm, behind)
        relu = relu_after.get(norm) if type(behind) is nn.Identity else behind if behind in relus else None
        if relu is None or not _can_defer_activation(conv):
            continue
        after[conv] = clipped_relu(relu.max_val) if isinstance(relu, nn.ReLU6) else RELU
        if len(calls[relu]) == 1:  # used elsewhere it stays, and changes nothing here
            put(relu, nn.Identity())
    return after


def _record_calls(model: nn.Module, images: Tensor) -> Calls:
    """Which modules that can be prepared are called, outside dense blocks, which prepare themselves."""
    kept: list[Any] = []  # so that no tensor's id is given to another
    made_by: dict[tuple[int, int], nn.Module] = {}
    calls: Calls = {}

    def before(module: nn.Module, given: tuple[Any, ...]) -> None:
        kept.extend(given)
        calls.setdefault(module, []).append(made_by.get(_version_of(given[0])) if given else None)

    def after(module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        kept.append(out)
        made_by[_version_of(out)] = module

    busy = {part for block in model.modules() if isinstance(block, DenseBlock) for part in block.modules()}
    handles: list[RemovableHandle] = []
    for part in model.modules():
        known = isinstance(part, nn.Conv2d | nn.ReLU | nn.ReLU6) or _is_norm(part) or uses_means_only(part)
        if known and part not in busy:
            handles += part.register_forward_pre_hook(before), part.register_forward_hook(after)
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _version_of(x: Any) -> tuple[int, int]:
    """Which tensor it is, and how often it was written to: x += shortcut is another output than x."""
    return id(x), getattr(x, "_version", 0)


def _is_norm(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """PyTorch's batch norm, also with attention after it, or timm's that has dropout, which does nothing
    here, and activation after it; with statistics."""
    own = f"{type(module).__module__}.{type(module).__qualname__}"
    attended = attention_of(module) is not None and getattr(module, "plain", None) is nn.BatchNorm2d
    known = is_batch_norm(module) or attended or own == "timm.layers.norm_act.BatchNormAct2d"
    return known and cast(nn.BatchNorm2d, module).running_mean is not None


def _can_defer_activation(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it is a convolution that ``OptimizedConv`` computes."""
    if type(module) is not nn.Conv2d or module.weight.dtype != torch.float32:
        return False
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _optimized_block(block: FusedBlock) -> OptimizedBlock | None:
    """The residual block in one go, where nothing but its convolutions and a gate is left of it."""
    if not block.is_unmodified():
        return None
    convolutions = [getattr(block, conv) for conv, *_ in block.layout.layers]
    *norms, gate = (getattr(block, norm) for _, norm, _ in block.layout.layers)
    *_, (_, _, last_activation) = block.layout.layers
    rectified = [isinstance(conv, OptimizedConv) and conv.has_activation for conv in convolutions]
    if not isinstance(convolutions[-1], OptimizedConv) or rectified != [*(True for _ in norms), False]:
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
    """What the linear layers are given, and the answer: a head that starts at zero would hide all else."""
    seen: list[Tensor] = []
    heads = [module for module in model.modules() if isinstance(module, nn.Linear)]
    handles = [head.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for head in heads]
    try:
        answer = model(images)
    finally:
        for handle in handles:
            handle.remove()
    return [answer, *seen]


def _is_close(found: Tensor, expected: Tensor) -> bool:
    largest = float(expected.abs().max())
    return bool((found - expected).abs().max() <= _TOLERANCE * max(largest, 1e-6))
