"""A copy of a network that only answers: norms in its convolutions, ReLUs in their products.

A batch norm that has its statistics is a scale and a shift of each channel, and a convolution before it can
have both in its weights (https://arxiv.org/abs/1712.05877, section 3.2). Which convolution stands before
which norm is seen while the network answers once, so names and families do not matter; what the copy answers,
and what its linear layers see, is compared with the network, and a copy that differs is not used.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from excite.kernels.switch import choice, unseen
from excite.models.densenet import DenseBlock, DenseNet
from excite.models.fused_blocks import FusedBlock, is_plain_norm

_TOLERANCE = 1e-4  # of the largest output


@torch.no_grad()
def answering(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy in evaluation mode with the same answers; or the network itself where a copy answers otherwise.

    It does not follow the network's weights when they change, and gives no gradients. Blocks with
    operators of their own (``excite.kernels``) keep them; dense blocks keep what they derive of weights.
    A network with hooks, and any with EXCITE_KERNELS=off, answers itself.

    Args:
        images: (N, 3, H, W), one will do: the copy is made by what happens to them, and checked with them.
    """
    if choice() == "off" or not unseen(*model.modules()):
        return model
    images = images.contiguous(memory_format=torch.channels_last)
    made = copy.deepcopy(model).eval().requires_grad_(False)
    mode = model.training
    model.eval()
    try:
        expected = _seen(model, images)
        _fold(made, images)
        for module in made.modules():
            if isinstance(module, DenseBlock):
                module.keep_numbers()
        same = all(map(_close, _seen(made, images), expected))
    finally:
        model.train(mode)
    return made if same else model


class RectifiedConv(nn.Module):
    """ReLU, or ReLU6, of a convolution, in one operator of oneDNN: (N, C, H, W) -> (N, out, h, w)."""

    rectifies = True  # what FusedBlock looks for

    def __init__(self, conv: nn.Conv2d, limit: float | None) -> None:
        super().__init__()
        self.conv = conv
        self.after = ("relu", []) if limit is None else ("hardtanh", [0.0, limit])

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))
        of = self.conv
        weight, bias = of.weight.to(x.dtype), None if of.bias is None else of.bias.to(x.dtype)
        shape = (of.padding, of.stride, of.dilation, of.groups)
        return cast(Tensor, torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *shape, *self.after, ""))


def _fold(model: nn.Module, images: Tensor) -> None:
    """Norms into the convolutions before them, then ReLUs, in place."""
    names = {module: name for name, module in model.named_modules()}
    for conv, norm, relu, relu_is_its_own in _sequences(model, images):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        statistics = (norm.running_mean, norm.running_var, norm.eps)
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, *statistics, norm.weight, norm.bias
        )
        conv.requires_grad_(False)
        # timm's norms have their activation in them.
        model.set_submodule(names[norm], getattr(norm, "act", nn.Identity()))
        if relu is not None and _can_rectify(conv):
            model.set_submodule(names[conv], RectifiedConv(conv, getattr(relu, "max_val", None)))
            if relu_is_its_own:
                model.set_submodule(names[norm] if hasattr(norm, "act") else names[relu], nn.Identity())


Sequence = tuple[nn.Conv2d, nn.BatchNorm2d, nn.Module | None, bool]


def _sequences(model: nn.Module, images: Tensor) -> list[Sequence]:
    """Each convolution whose output is a norm's input, the norm, the ReLU after it if there is one, and
    whether that is used nowhere else; a ReLU of what is rectified changes nothing."""
    kept: list[Any] = []  # so that no tensor's id is given to another
    made_by: dict[int, nn.Module] = {}
    before: dict[nn.Module, list[nn.Module | None]] = {}  # for each call what made its input

    def called(module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        kept.extend((*given, out))
        before.setdefault(module, []).append(made_by.get(id(given[0])) if given else None)
        made_by[id(out)] = module

    busy = {part for own in model.modules() for part in _has_operators(own)}
    parts = [part for part in model.modules() if part not in busy and _is_part(part)]
    handles = [part.register_forward_hook(called) for part in parts]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    relus = [part for part in before if isinstance(part, nn.ReLU | nn.ReLU6)]
    relu_after = {made: relu for relu in relus for made in before[relu]}
    found: list[Sequence] = []
    for norm in filter(_is_norm, before):
        conv, *more = before[norm]
        if more or not isinstance(conv, nn.Conv2d) or len(before[conv]) > 1:
            continue
        own = getattr(norm, "act", None)
        relu = relu_after.get(norm) if own is None else own if own in relus else None
        calls = 0 if relu is None else len(before[relu])
        found.append((conv, cast(nn.BatchNorm2d, norm), relu, calls == 1))
    return found


def _has_operators(module: nn.Module) -> list[nn.Module]:
    """What of a module is computed by operators that have the norm in them already."""
    if isinstance(module, DenseNet):
        return list(module.modules())
    if isinstance(module, FusedBlock):
        *_, last = module.layout.layers
        parts = [getattr(module, name, None) for name in (*last[:2], module.layout.attention) if name]
        return [inner for part in parts if part is not None for inner in part.modules()]
    return []


def _is_part(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.ReLU | nn.ReLU6) or _is_norm(module)


def _is_norm(module: nn.Module) -> bool:
    """PyTorch's batch norm, or timm's that has dropout, which does nothing here, and activation after it."""
    own = f"{type(module).__module__}.{type(module).__qualname__}"
    known = is_plain_norm(module) or own == "timm.layers.norm_act.BatchNormAct2d"
    return known and cast(nn.BatchNorm2d, module).running_mean is not None


def _can_rectify(conv: nn.Conv2d) -> bool:
    plain = type(conv) is nn.Conv2d and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    known = hasattr(torch.ops.mkldnn, "_convolution_pointwise") and torch.backends.mkldnn.is_available()
    return plain and known and conv.weight.device.type == "cpu" and conv.weight.dtype == torch.float32


def _seen(model: nn.Module, images: Tensor) -> list[Tensor]:
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


def _close(found: Tensor, expected: Tensor) -> bool:
    largest = float(expected.abs().max())
    return bool((found - expected).abs().max() <= _TOLERANCE * max(largest, 1e-6))
