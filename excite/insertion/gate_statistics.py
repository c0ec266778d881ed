"""Mean and standard deviation of every gate of a network over a data set."""

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
    """The gates of one attention module over a set of images.

    Args:
        path: of the attention module in the model.
        mean: (C,) float64, the gate of each channel, averaged over images and positions.
        std: (C,) float64, its standard deviation over images and positions.
        variation: root mean square of ``std`` divided by that of ``mean``: the relative error of the output
            if the gates are replaced by their means. 0 for constant gates.
    """

    path: str
    mean: Tensor
    std: Tensor
    variation: float


def measure_gates(model: nn.Module, loader: Batches) -> list[GateStatistics]:
    """How much each gate of a model varies between images; the model does not change.

    Args:
        model: a model with attention, inserted or native, that has a method ``gates``, as that of excite has.
        loader: batches of images (N, ...) and targets (N,). Statistics are streamed: memory does not grow
            with the number of images.

    Raises:
        ExciteError: if the model has no gates, or the loader has no images.

    Example:
        >>> import excite, torch
        >>> model = excite.create_model("cifar_resnet20", num_classes=10, attention="se")
        >>> gates = measure_gates(model, [(torch.randn(4, 3, 32, 32), torch.zeros(4))])
        >>> len(gates), gates[0].mean.shape
        (9, torch.Size([16]))
    """
    return measure_gates_and_logits(model, loader)[0]


def has_identity_gates(model: nn.Module, loader: Batches) -> bool | None:
    """Whether every gate is exactly one for all images, so that attention has no effect; None without gates.

    Args:
        model: as for ``measure_gates``; it does not change.
        loader: batches of images (N, ...) and targets (N,); a few images are enough.

    Example:
        >>> import excite, torch
        >>> options = {"identity": True}
        >>> model = excite.create_model("cifar_resnet20", attention="se", attention_options=options)
        >>> has_identity_gates(model, [(torch.randn(2, 3, 32, 32), torch.zeros(2))])
        True
    """
    if not any(hasattr(module, "gates") for module in model.modules()):
        return None
    gates = measure_gates(model, loader)
    return all(bool((each.mean == 1).all() and (each.std == 0).all()) for each in gates)


class _Moments:
    """Streaming sums of the gates of a module and of their squares, per channel, in float64."""

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
        power = mean.square().mean()
        variation = float((variance.mean() / power).sqrt()) if power > 0 else float(variance.mean() > 0)
        return GateStatistics(path, mean, variance.sqrt(), variation)


def measure_gates_and_logits(
    model: nn.Module, loader: Batches
) -> tuple[list[GateStatistics], Tensor, Tensor]:
    """As ``measure_gates``, with the logits (N, classes) and targets (N,) of the same pass."""
    attention = {path: module for path, module in model.named_modules() if hasattr(module, "gates")}
    # Composite attention is measured as one module.
    outermost = [path for path in attention if not any(path.startswith(f"{other}.") for other in attention)]
    moments = {path: _Moments() for path in outermost if not isinstance(attention[path], FixedGate)}
    if not moments:
        hint = "insert attention with excite.insert; a module of your own needs a method gates(u)"
        raise ExciteError("this model has no gates", hint=hint)
    handles = [attention[path].register_forward_pre_hook(sums.add) for path, sums in moments.items()]
    try:
        logits, targets = collect_logits(model, loader)
    finally:
        for handle in handles:
            handle.remove()
    return [sums.statistics(path) for path, sums in moments.items() if sums.count], logits, targets


@torch.no_grad()
def collect_logits(model: nn.Module, batches: Batches) -> tuple[Tensor, Tensor]:
    """Logits (N, classes) float32 in evaluation mode, and targets (N,), on the CPU."""
    parameter = next(iter(model.parameters()), torch.zeros(()))
    with evaluating(model):
        pairs = [
            (model(images.to(parameter.device)).float().cpu(), targets.cpu()) for images, targets in batches
        ]
    if not pairs:
        raise ExciteError("the loader has no images", where="loader", exit_code=BAD_USAGE)
    return torch.cat([logits for logits, _ in pairs]), torch.cat([targets for _, targets in pairs])


def accuracy_of(logits: Tensor, targets: Tensor) -> float:
    """The fraction of images (N,) whose largest logit, of (N, classes), is that of the target."""
    return float((logits.argmax(dim=1) == targets).float().mean())
