"""Fold constant gates, which hardly depend on the image, into the weights beside them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from excite.attention.fixed_gate import FixedGate
from excite.errors import BAD_USAGE, ExciteError
from excite.insertion.attach import CHILD, WithAttention, detach
from excite.insertion.copying import deep_copy
from excite.insertion.gate_statistics import (
    Batches,
    GateStatistics,
    accuracy_of,
    collect_logits,
    measure_gates_and_logits,
)
from excite.insertion.weight_scaling import HOMOGENEOUS, scale_input, scale_output, scale_output_before


@dataclass(frozen=True)
class Folding:
    """A model without its constant gates, and the effect of the change.

    Args:
        model: the folded copy.
        gates: statistics of all gates, in the order of the model.
        folded: paths of the attention modules that were folded into neighboring weights.
        fixed: paths of those that were replaced by one constant per channel, for lack of such a neighbor.
        images: number of images behind the accuracies.
        accuracy_before, accuracy_after: between 0 and 1.
        largest_change: the largest absolute change of a logit.
    """

    model: nn.Module
    gates: tuple[GateStatistics, ...]
    folded: tuple[str, ...]
    fixed: tuple[str, ...]
    images: int
    accuracy_before: float
    accuracy_after: float
    largest_change: float

    def __str__(self) -> str:
        retained = len(self.gates) - len(self.folded) - len(self.fixed)
        return (
            f"{len(self.folded)} of {len(self.gates)} gates folded, {len(self.fixed)} fixed, "
            f"{retained} retained; accuracy {self.accuracy_before:.2%} before, {self.accuracy_after:.2%} "
            f"after on {self.images} images, logits changed by at most {self.largest_change:.3g}"
        )


def fold_constant_gates(
    model: nn.Module, loader: Batches, tolerance: float = 0.01, *, test: Batches | None = None
) -> Folding:
    """Fold every gate whose variation is at most ``tolerance`` into the weights beside it.

    ``s * conv(x)`` equals a convolution with weights and bias times s; likewise for batch norm. A gate beside
    neither becomes a ``FixedGate``, which saves the squeeze and the excitation.

    Args:
        model: as in ``measure_gates``; it does not change.
        loader: images for the gate statistics, as in ``measure_gates``.
        tolerance: largest ``GateStatistics.variation`` of a gate that is folded; 0.01 is 1 % of a channel.
        test: other images for the accuracies, by default those of ``loader``; they are read twice.

    Raises:
        ExciteError: as ``measure_gates``; if the tolerance is negative; if the batches can be read only once.

    Example:
        >>> import excite, torch
        >>> model = excite.create_model("cifar_resnet20", num_classes=10, attention="se").eval()
        >>> folding = fold_constant_gates(model, [(torch.randn(4, 3, 32, 32), torch.zeros(4))], tolerance=1.0)
        >>> len(folding.folded)
        9
    """
    if not tolerance >= 0:
        raise ExciteError(f"must be at least 0, got {tolerance}", where="tolerance", exit_code=BAD_USAGE)
    gates, logits, targets = measure_gates_and_logits(model, loader)
    evaluated = loader if test is None else test
    if iter(evaluated) is evaluated:
        hint = "pass a list or a DataLoader, not a generator"
        raise ExciteError("the batches can be read only once", where="loader", hint=hint, exit_code=BAD_USAGE)
    if test is not None:
        logits, targets = collect_logits(model, test)
    copy = deep_copy(model)
    folded: list[str] = []
    fixed: list[str] = []
    for gate in gates:
        if gate.variation <= tolerance:
            (folded if _fold(copy, gate) else fixed).append(gate.path)
    logits_after, _ = collect_logits(copy, evaluated)
    return Folding(
        copy,
        tuple(gates),
        tuple(folded),
        tuple(fixed),
        len(targets),
        accuracy_of(logits, targets),
        accuracy_of(logits_after, targets),
        float((logits_after - logits).abs().max()),
    )


@torch.no_grad()
def _fold(model: nn.Module, gate: GateStatistics) -> bool:
    """Replace one attention module, in place; whether it was folded into neighboring weights."""
    path, _, name = gate.path.rpartition(".")
    parent = model.get_submodule(path)
    if isinstance(parent, WithAttention) and name == CHILD:
        if _fold_inserted(model, path, parent, gate.mean):
            detach(model, path)
            return True
    elif isinstance(parent, nn.Sequential) and _fold_in_sequence(parent, name, gate.mean):
        setattr(parent, name, nn.Identity())
        return True
    parameter = next(parent.get_submodule(name).parameters(), gate.mean)
    fixed = FixedGate(gate.mean.to(parameter.device, torch.float32))
    setattr(parent, name, fixed.train(parent.training))
    return False


def _fold_inserted(model: nn.Module, path: str, host: WithAttention, gate: Tensor) -> bool:
    if host.position == "before":
        return scale_input(host, gate)
    if host.position != "after":
        return False
    if scale_output(host, gate):
        return True
    parent, _, name = path.rpartition(".")
    sequence = model.get_submodule(parent)
    homogeneous = issubclass(host.plain, HOMOGENEOUS) and bool((gate >= 0).all())
    return isinstance(sequence, nn.Sequential) and homogeneous and scale_output_before(sequence, name, gate)


def _fold_in_sequence(sequence: nn.Sequential, name: str, gate: Tensor) -> bool:
    """Fold into the layer before the gate, else into the layer after it."""
    if scale_output_before(sequence, name, gate):
        return True
    names = [child for child, _ in sequence.named_children()]
    following = names.index(name) + 1
    return following < len(names) and scale_input(sequence[following], gate)
