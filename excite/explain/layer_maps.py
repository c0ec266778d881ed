"""Activations of a layer and the gradient of class scores there, without a trace left in the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from excite.inference.feature_tap import FeatureTap
from excite.insertion.copying import deep_copy
from excite.system.evaluation_mode import evaluating

Score = Callable[[Tensor, Tensor], Tensor]  # logits (N, C) and classes (N,) -> scores (N,)


@dataclass(frozen=True)
class LayerMaps:
    """What a network computes at one place, for one class of each image.

    Args:
        activations: (N, K, h, w) float32, the feature map.
        gradients: (N, K, h, w) float32, the gradient of the score with respect to it.
        bias: (N,) float32, what the biases after the place add: the sum of each bias times its gradient.
        logits: (N, C) float32.
    """

    activations: Tensor
    gradients: Tensor
    bias: Tensor
    logits: Tensor


def score_logits(logits: Tensor, classes: Tensor) -> Tensor:
    """The logit of each image's class: (N, C), (N,) -> (N,)."""
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, classes.clone()]  # a clone, because autograd refuses indices made in inference mode


def layer_maps(
    model: nn.Module, tap: FeatureTap, images: Tensor, classes: list[Tensor], *, with_bias: bool = False
) -> list[LayerMaps]:
    """The activations at a place, and the gradient of the logits of several classes there.

    Modes, gradients, ``requires_grad``, and hooks of the network are as before. It works for frozen networks
    and within ``torch.inference_mode``.

    Args:
        tap: the place.
        images: (N, 3, S, S), normalized.
        classes: each (N,), a class of each image.
        with_bias: compute ``bias``, one backward pass for each image; else it is 0.

    Returns:
        one entry for each of ``classes``.
    """
    with torch.inference_mode(False), torch.enable_grad(), evaluating(_differentiable(model)) as network:
        batch = as_input(network, images)
        with tap.watch(network, _leaf) as seen, _with_gradient(network):
            logits = network(batch)
            [features] = seen
            biases = _biases(network) if with_bias else []
            result = []
            for number, wanted in enumerate(classes):
                score = score_logits(logits, wanted.to(logits.device))
                gradients, bias = _gradients(score, features, biases, keep=number < len(classes) - 1)
                result.append(
                    LayerMaps(
                        features.detach().float(),
                        gradients.float(),
                        bias.float(),
                        logits.detach().float(),
                    )
                )
    return result


def as_input(model: nn.Module, images: Tensor) -> Tensor:
    """Images in the dtype and on the device of the network, as tensors that autograd accepts."""
    parameter = next(model.parameters())
    batch = images.to(parameter.device, parameter.dtype)
    return batch.clone() if batch.is_inference() else batch


def _biases(model: nn.Module) -> list[nn.Parameter]:
    return [p for name, p in model.named_parameters() if name.rpartition(".")[2] == "bias"]


def _leaf(features: Tensor) -> Tensor:
    """The map cut off from the layers before it, so that no gradient is computed for them."""
    return features.detach().requires_grad_()


def _gradients(
    score: Tensor, features: Tensor, biases: list[nn.Parameter], *, keep: bool
) -> tuple[Tensor, Tensor]:
    """The gradient of the scores (N,) with respect to the map, and the biases' contribution to each (N,).

    A bias is shared by all images, so its gradient is taken image by image.
    """
    found = torch.autograd.grad(
        score.sum(), [features, *biases], retain_graph=keep or bool(biases), allow_unused=True
    )
    used = [p for p, g in zip(biases, found[1:], strict=True) if g is not None]
    bias = torch.zeros(len(score), device=score.device)
    for row in range(len(score) if used else 0):
        last = row == len(score) - 1
        own = torch.autograd.grad(score[row], used, retain_graph=keep or not last)
        bias[row] = sum(float((p.detach().float() * g.float()).sum()) for p, g in zip(used, own, strict=True))
    return found[0].detach(), bias


@contextmanager
def _with_gradient(model: nn.Module) -> Iterator[None]:
    """Let autograd follow all parameters within the block."""
    before = [(p, p.requires_grad) for p in model.parameters() if p.is_floating_point()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)


def _differentiable(model: nn.Module) -> nn.Module:
    """The network itself, or a copy if it was made in inference mode, whose tensors autograd refuses."""
    tensors = [*model.parameters(), *model.buffers()]
    if not any(tensor.is_inference() for tensor in tensors):
        return model
    copies: dict[int, object] = {}
    for tensor in tensors:
        clone = tensor.detach().clone()
        copies[id(tensor)] = nn.Parameter(clone) if isinstance(tensor, nn.Parameter) else clone
    return deep_copy(model, copies)
