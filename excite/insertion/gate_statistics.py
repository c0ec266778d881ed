"""Mean and spread of every gate of a network over a data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from excite.attention.fixed_gate import FixedGate
from excite.errors import BAD_USAGE, ExciteError
from excite.system.evaluation_mode import evaluating

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class GateStatistics:
    """What one attention module's gates are over a set of images.

    Args:
        path: of the attention module in the model.
        mean: (C,) the gate of each channel, averaged over images and positions, float64.
        std: (C,) its standard std over both.
        variation: root mean square of the deviations over that of the means: the relative error that fixing
            the gates at their means makes in what passes through them. 0 for gates that never move.
    """

    path: str
    mean: Tensor
    std: Tensor
    variation: float


def measure_gates(model: nn.Module, loader: Batches) -> list[GateStatistics]:
    """How much each gate varies between images; the model is left as it is.

    Args:
        model: with attention in it, inserted or its own, that has a method ``gates``; all of excite's has.
        loader: batches of images (N, ...) and targets (N,), as the model takes them. Statistics are streamed:
            memory does not grow with the number of images.

    Raises:
        ExciteError: if there is no attention with gates, or the loader has no images.
    """
    return _measure(model, loader)[0]


class _Moments:
    """Streaming sums of a module's gates, per channel, in float64."""

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0.0, torch.zeros(()), torch.zeros(())

    def add(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        u = inputs[0]
        s = module.gates(u).detach().double()  # type: ignore[operator]
        s = s.expand(-1, u.shape[1], -1, -1)
        self.count += s.numel() / u.shape[1]
        self.sum = self.sum.to(s.device) + s.sum(dim=(0, 2, 3))
        self.squares = self.squares.to(s.device) + s.square().sum(dim=(0, 2, 3))

    def statistics(self, path: str) -> GateStatistics:
        mean = self.sum / self.count
        variance = (self.squares / self.count - mean.square()).clamp(min=0)
        rest = mean.square().mean()
        variation = float((variance.mean() / rest).sqrt()) if rest > 0 else float(variance.mean() > 0)
        return GateStatistics(path, mean, variance.sqrt(), variation)


def _measure(model: nn.Module, loader: Batches) -> tuple[list[GateStatistics], Tensor, Tensor]:
    attention = {path: module for path, module in model.named_modules() if hasattr(module, "gates")}
    # The parts of attention that is made of others are measured as one.
    outermost = [path for path in attention if not any(path.startswith(f"{other}.") for other in attention)]
    moments = {path: _Moments() for path in outermost if not isinstance(attention[path], FixedGate)}
    if not moments:
        raise ExciteError("there are no gates in this model", hint="excite.insert puts some in")
    handles = [attention[path].register_forward_pre_hook(held.add) for path, held in moments.items()]
    try:
        logits, targets = _logits(model, loader)
    finally:
        for handle in handles:
            handle.remove()
    return [held.statistics(path) for path, held in moments.items() if held.count], logits, targets


@torch.no_grad()
def _logits(model: nn.Module, batches: Batches) -> tuple[Tensor, Tensor]:
    """(N, classes) float32 logits in evaluation mode and (N,) targets, on the CPU."""
    like = next(iter(model.parameters()), torch.zeros(()))
    with evaluating(model):
        pairs = [(model(images.to(like.device)).float().cpu(), targets.cpu()) for images, targets in batches]
    if not pairs:
        raise ExciteError("there are no images to measure on", where="loader", exit_code=BAD_USAGE)
    return torch.cat([logits for logits, _ in pairs]), torch.cat([targets for _, targets in pairs])


def _accuracy(logits: Tensor, targets: Tensor) -> float:
    return float((logits.argmax(dim=1) == targets).float().mean())
