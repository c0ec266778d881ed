"""Optimizer, learning rate schedule, moving average of the weights, and loss."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.attention.registry import is_own_attention


def freeze_norms(model: nn.Module) -> None:
    """Keep the running statistics of batch norms fixed in a network in training mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


@dataclass(frozen=True)
class OptimizerDefaults:
    """Default options of an optimizer."""

    lr: float
    weight_decay: float


LAYERS = 12  # of layer-wise learning rate decay and of freezing

DEFAULTS = {"adamw": OptimizerDefaults(5e-4, 0.05), "sgd": OptimizerDefaults(0.05, 5e-4)}


def build_optimizer(
    model: nn.Module, name: str, *, weight_decay: float, momentum: float = 0.9, layer_decay: float = 1.0
) -> torch.optim.Optimizer:
    """AdamW or SGD; the training loop multiplies the scheduled learning rate by each group's ``lr_scale``.

    One-dimensional parameters (norms and biases) have no weight decay.

    Args:
        model: the network; parameters without ``requires_grad`` are left out.
        name: ``adamw`` or ``sgd``.
        weight_decay: of parameters with two or more dimensions.
        momentum: of SGD.
        layer_decay: factor of the learning rate from one twelfth of the network to the one before it
            (layer-wise decay, arXiv 1905.05583); layers near the input change least.

    Example:
        >>> optimizer = build_optimizer(nn.Linear(4, 2), "adamw", weight_decay=0.05)
        >>> sorted(group["weight_decay"] for group in optimizer.param_groups)
        [0.0, 0.05]
    """
    scales = layer_scales(model, layer_decay)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for path, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((scales[path], parameter.ndim > 1), []).append(parameter)
    options = [
        {"params": parameters, "weight_decay": weight_decay if decayed else 0.0, "lr_scale": scale}
        for (scale, decayed), parameters in groups.items()
    ]
    devices = {parameter.device.type for group in groups.values() for parameter in group}
    fused = devices <= {"cpu", "cuda"}  # one pass over the weights instead of six
    if name == "sgd":
        return torch.optim.SGD(options, lr=1.0, momentum=momentum, nesterov=momentum > 0, fused=fused)
    return torch.optim.AdamW(options, lr=1.0, fused=fused)


def layer_scales(model: nn.Module, layer_decay: float) -> dict[str, float]:
    """Parameter path -> factor of its learning rate: 1 for the head, smaller toward the input."""
    return {path: layer_decay**depth for path, depth in _depths(model).items()}


def freeze_layers(model: nn.Module, count: int) -> None:
    """Keep the weights of the ``count`` of twelve layers next to the input fixed, in place.

    No gradients are computed for them. excite's attention modules in these layers are trained, because they
    are not among the pretrained weights; the gradients are then computed down to the first of them.

    Args:
        model: the network.
        count: 0 to 12; with 12, only the head is trained.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2))
        >>> freeze_layers(model, 6)
        >>> [parameter.requires_grad for parameter in model.parameters()]
        [False, False, True, True, True, True]
    """
    attention = {
        id(parameter)
        for module in model.modules()
        if is_own_attention(module)
        for parameter in module.parameters()
    }
    depths = _depths(model)
    for path, parameter in model.named_parameters():
        if depths[path] > LAYERS - count and id(parameter) not in attention:
            parameter.requires_grad_(False)


def _depths(model: nn.Module) -> dict[str, int]:
    """Parameter path -> its layer, counted from the head: 0 is the head, 12 the stem.

    Blocks are the modules with a number in their path, in order of registration. They are divided into twelve
    layers, as many as a small transformer has: one factor per block would freeze the stem of a deep network.
    """
    paths = [path for path, _ in model.named_parameters()]
    blocks = list(dict.fromkeys(map(_block, paths)))
    count = max(1, len(blocks) - 1)
    depth = {block: round(LAYERS * (count - index) / count) for index, block in enumerate(blocks)}
    return {path: depth[_block(path)] for path in paths}


def _block(path: str) -> str:
    """The path up to its last module with a number, not counting the parameter's own layer."""
    parts = path.split(".")
    numbered = [index for index, part in enumerate(parts[:-2]) if part[-1].isdigit()]
    return ".".join(parts[: numbered[-1] + 1]) if numbered else parts[0]


def learning_rate(progress: float, *, peak: float, warmup: float) -> float:
    """Linear warm-up, then a half cosine down to zero (arXiv 1608.03983, eq. 5, without restarts).

    Args:
        progress: the finished fraction of the training, in [0, 1].
        peak: the largest learning rate.
        warmup: the fraction of the training with rising learning rate.

    Example:
        >>> [round(learning_rate(p, peak=1.0, warmup=0.2), 3) for p in (0.1, 0.2, 0.6, 1.0)]
        [0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return peak * max(progress / warmup, 0.01)
    rest = (progress - warmup) / (1 - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))


class AveragedModel:
    """Exponential moving average of weights and running statistics; this is what is evaluated and saved.

    It averages over about ``horizon`` steps; at the start, over about a tenth of the steps so far.
    """

    def __init__(self, model: nn.Module, horizon: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.horizon = horizon
        # Collected once: walking a DenseNet's modules takes as long as averaging its weights.
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        self._moving = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the model's weights after step ``step``, counted from 1."""
        decay = min(1 - 1 / self.horizon if self.horizon > 1 else 0.0, (step + 1) / (step + 10))
        torch._foreach_lerp_(
            [average for average, _ in self._moving], [value for _, value in self._moving], 1 - decay
        )
        for average, value in self._counts:
            average.copy_(value)


def classification_loss(
    logits: Tensor, targets: Tensor, *, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy, averaged over images; a float32 scalar.

    The sum of weighted losses is divided by the number of images, not by the sum of weights, so that the mean
    over processes and accumulation steps equals that of the whole batch. Weights with mean 1 over the
    training set do not change the scale of the loss.

    Args:
        logits: (N, C).
        targets: (N,) class indices or (N, C) probabilities.
        smoothing: label smoothing (arXiv 1512.00567, section 7).
        weights: (C,) class weights.
    """
    losses = F.cross_entropy(
        logits.float(), targets, weight=weights, label_smoothing=smoothing, reduction="none"
    )
    return losses.mean()
