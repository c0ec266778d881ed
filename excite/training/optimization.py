"""Optimizer, schedule, averaged weights and loss."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def freeze_norms(model: nn.Module) -> None:
    """Let batch norms keep the statistics that they have, whatever mode the network is in."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


@dataclass(frozen=True)
class OptimizerDefaults:
    lr: float
    weight_decay: float


LAYERS = 12

DEFAULTS = {"adamw": OptimizerDefaults(5e-4, 0.05), "sgd": OptimizerDefaults(0.05, 5e-4)}


def build_optimizer(
    model: nn.Module, name: str, *, weight_decay: float, momentum: float = 0.9, layer_decay: float = 1.0
) -> torch.optim.Optimizer:
    """AdamW or SGD (``name``), whose learning rate the loop sets to its own times the group's ``lr_scale``.

    One-dimensional parameters, which are norms and biases, are not decayed.

    Args:
        layer_decay: factor of the rate from one twelfth of the network to the one before it (layer-wise
            decay, arXiv 1905.05583): what is near the image changes least.
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
    fused = devices <= {"cpu", "cuda"}  # one pass over the weights, not six
    if name == "sgd":
        return torch.optim.SGD(options, lr=1.0, momentum=momentum, nesterov=momentum > 0, fused=fused)
    return torch.optim.AdamW(options, lr=1.0, fused=fused)


def layer_scales(model: nn.Module, layer_decay: float) -> dict[str, float]:
    """Path of each parameter -> factor of its learning rate: 1 for the head, less the nearer to the image.

    Blocks are told by the numbers in their paths, in the order of registration, and shared out among twelve
    layers, as many as a small transformer has: a factor a block would freeze the stem of a deep network.
    """
    blocks = list(dict.fromkeys(_block(path) for path, _ in model.named_parameters()))
    count = max(1, len(blocks) - 1)
    depth = {block: round(LAYERS * (count - index) / count) for index, block in enumerate(blocks)}
    return {path: layer_decay ** depth[_block(path)] for path, _ in model.named_parameters()}


def _block(path: str) -> str:
    """The module of a parameter's path that ends in a number, the layer that holds the parameter aside."""
    parts = path.split(".")
    numbered = [index for index, part in enumerate(parts[:-2]) if part[-1].isdigit()]
    return ".".join(parts[: numbered[-1] + 1]) if numbered else parts[0]


def learning_rate(progress: float, *, peak: float, warmup: float) -> float:
    """Linear warm-up, then a half cosine down to zero (arXiv 1608.03983, eq. 5, without restarts).

    Args:
        progress: share of the training that is done, in [0, 1].
        peak: the largest rate.
        warmup: share of the training that warms up.
    """
    if progress < warmup:
        return peak * max(progress / warmup, 0.01)
    rest = (progress - warmup) / (1 - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))


class AveragedModel:
    """An exponential moving average of weights and statistics, which is what is evaluated and kept.

    It reaches back about ``horizon`` steps; at the start, where there are fewer, a tenth of those there are.
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
        """Take in the model's weights after step number ``step``, counted from 1."""
        decay = min(1 - 1 / self.horizon if self.horizon > 1 else 0.0, (step + 1) / (step + 10))
        torch._foreach_lerp_([mine for mine, _ in self._moving], [its for _, its in self._moving], 1 - decay)
        for mine, its in self._counts:
            mine.copy_(its)


def classification_loss(
    logits: Tensor, targets: Tensor, *, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy, averaged over images.

    Weights multiply each image's loss and are not divided out again, so that the average over processes and
    accumulated parts equals that over the whole batch; with weights whose mean over the training set is 1 the
    scale of the loss stays what it was.

    Args:
        logits: (N, C).
        targets: (N,) class indices or (N, C) shares.
        smoothing: label smoothing (arXiv 1512.00567, section 7).
        weights: (C,).
    """
    losses = F.cross_entropy(
        logits.float(), targets, weight=weights, label_smoothing=smoothing, reduction="none"
    )
    return losses.mean()
