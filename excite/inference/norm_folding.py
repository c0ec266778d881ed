"""Fold batch norms into the convolutions before them.

With fixed statistics, a batch norm scales and shifts each channel, and the convolution before it can do both
with its weights (https://arxiv.org/abs/1712.05877, section 3.2). Which convolution precedes which norm is
recorded during one forward pass, so names and families do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils.hooks import RemovableHandle

from excite.insertion.copying import deep_copy
from excite.kernels.dispatch import use_kernels
from excite.models.fused_norms import attention_of, is_batch_norm
from excite.system.evaluation_mode import evaluating

_TOLERANCE = 1e-4  # relative to the largest output
# For each module in the order of its first call: the module that produced the input of each call.
Calls = dict[nn.Module, list[nn.Module | None]]


class FoldedNorm(NamedTuple):
    """A norm that was folded into a convolution, and the module in its place: what was inside it, if any."""

    norm: nn.Module
    conv: nn.Conv2d
    inner: nn.Module


@torch.inference_mode(False)
@torch.no_grad()
def fold_batch_norms(model: nn.Module, example_images: Tensor) -> nn.Module:
    """A copy in evaluation mode with norms folded where a convolution precedes them, in plain PyTorch.

    Args:
        example_images: (N, C, H, W); one is enough. They are used to build the copy and to verify it.

    Returns:
        The copy; one without folded norms if their outputs differ by more than 1e-4 of the largest.

    Raises:
        ExciteError: if the network cannot be copied.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    >>> fold_batch_norms(model, torch.zeros(1, 3, 8, 8))[1]
    Identity()
    """
    folded = deep_copy(model).eval().requires_grad_(False)
    with use_kernels("off"), evaluating(model):
        expected = recorded_outputs(model, example_images)
        fold_norms(record_calls(folded, example_images), Submodules(folded))
        if all(map(is_close, recorded_outputs(folded, example_images), expected)):
            return folded
    return deep_copy(model).eval().requires_grad_(False)


def fold_norms(calls: Calls, modules: Submodules) -> list[FoldedNorm]:
    """Fold each norm into the convolution before it, in place.

    Attention or an activation inside the norm takes the norm's place.
    """
    folded = []
    for norm in filter(is_norm, calls):
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
        modules.replace(norm, inner)
        folded.append(FoldedNorm(norm, conv, inner))
    return folded


def record_calls(
    model: nn.Module,
    images: Tensor,
    others: Callable[[nn.Module], bool] = lambda module: False,
    skipped: Collection[nn.Module] = (),
) -> Calls:
    """Run the network and record the calls of convolutions, norms, and ReLUs.

    Args:
        others: which modules to record in addition.
        skipped: modules that are not recorded.
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

    handles: list[RemovableHandle] = []
    for module in model.modules():
        known = isinstance(module, nn.Conv2d | nn.ReLU | nn.ReLU6) or is_norm(module) or others(module)
        if known and module not in skipped:
            handles += module.register_forward_pre_hook(before), module.register_forward_hook(after)
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return calls


class Submodules:
    """The modules of a network by their place, of which some are replaced; not the network itself."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._paths = {module: path for path, module in model.named_modules()}

    def replace(self, old: nn.Module, new: nn.Module) -> None:
        """Put another module in the place of a module, in the network."""
        if self._paths[old]:
            self._model.set_submodule(self._paths[old], new)
            self._paths[new] = self._paths[old]

    def parent(self, module: nn.Module) -> nn.Module:
        """The module that now contains a module."""
        return self._model.get_submodule(self._paths[module].rpartition(".")[0])


def is_norm(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether it is a batch norm with statistics: PyTorch's, with inserted attention or without, or timm's.

    timm's includes dropout, which does nothing in evaluation mode, and an activation.
    """
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    has_attention = attention_of(module) is not None and getattr(module, "plain", None) is nn.BatchNorm2d
    known = is_batch_norm(module) or has_attention or name == "timm.layers.norm_act.BatchNormAct2d"
    return known and cast(nn.BatchNorm2d, module).running_mean is not None


def recorded_outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
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


def is_close(actual: Tensor, expected: Tensor) -> bool:
    """Whether two tensors are equal up to rounding."""
    largest = float(expected.abs().max())
    return bool((actual - expected).abs().max() <= _TOLERANCE * max(largest, 1e-6))


def _version_of(x: Any) -> tuple[int, int]:
    """Identity of a tensor and its number of in-place changes: x += shortcut is another value than x."""
    return id(x), getattr(x, "_version", 0)
