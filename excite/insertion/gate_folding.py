"""Attention that does nothing should cost nothing: gates that hardly vary go into neighboring weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from excite.attention.fixed_gate import FixedGate
from excite.errors import BAD_USAGE, ExciteError
from excite.insertion.attach import CHILD, WithAttention, detach
from excite.insertion.copying import deep_copy
from excite.insertion.gate_statistics import Batches, GateStatistics, _accuracy, _logits, _measure
from excite.insertion.weight_scaling import HOMOGENEOUS, scale_input, scale_output, scale_output_before


@dataclass(frozen=True)
class Folding:
    """A model whose static gates are gone, and what that changed.

    Args:
        model: a copy; what it was made from is as it was.
        gates: all gates as they were measured, in the order of the model.
        folded: paths of the attention that went into neighboring weights and costs nothing any more.
        fixed: paths of the attention that became one number a channel, where no neighbor could take it.
        images: how many images the accuracies were measured on.
        accuracy_before, accuracy_after: shares of them, between 0 and 1.
        largest_change: the largest change of any logit.
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
        kept = len(self.gates) - len(self.folded) - len(self.fixed)
        return (
            f"{len(self.folded)} of {len(self.gates)} gates folded, {len(self.fixed)} fixed, {kept} kept; "
            f"accuracy {self.accuracy_before:.2%} before, {self.accuracy_after:.2%} after on {self.images} "
            f"images, logits changed by at most {self.largest_change:.3g}"
        )


def fold_constant_gates(
    model: nn.Module, loader: Batches, tolerance: float = 0.01, *, test: Batches | None = None
) -> Folding:
    """Folds every gate whose variation is at most ``tolerance`` into the weights beside it.

    The output of ``s * conv(x)`` is that of a convolution with weights and bias times s, likewise for batch
    norm. Where neither is beside the gate it becomes a ``FixedGate``, which saves squeeze and excitation.

    Args:
        model: as in ``measure_gates``; left untouched.
        loader: images to measure the gates on, as in ``measure_gates``.
        tolerance: largest ``GateStatistics.variation`` of a gate that is folded; 0.01 is 1 % of a channel.
        test: other images for the accuracies before and after; by default those of ``loader``. Read twice.

    Raises:
        ExciteError: as ``measure_gates``, or if the batches can be read only once.
    """
    if not tolerance >= 0:
        raise ExciteError(f"must be at least 0, not {tolerance}", where="tolerance", exit_code=BAD_USAGE)
    gates, logits, targets = _measure(model, loader)
    checked = loader if test is None else test
    if iter(checked) is checked:
        hint = "give a list or a DataLoader, not a generator"
        raise ExciteError("the batches can be read only once", where="loader", hint=hint, exit_code=BAD_USAGE)
    if test is not None:
        logits, targets = _logits(model, test)
    changed = deep_copy(model)
    folded: list[str] = []
    fixed: list[str] = []
    for gate in gates:
        if gate.variation <= tolerance:
            (folded if _fold(changed, gate) else fixed).append(gate.path)
    after, _ = _logits(changed, checked)
    return Folding(
        changed,
        tuple(gates),
        tuple(folded),
        tuple(fixed),
        len(targets),
        _accuracy(logits, targets),
        _accuracy(after, targets),
        float((after - logits).abs().max()),
    )


@torch.no_grad()
def _fold(model: nn.Module, gate: GateStatistics) -> bool:
    """Replaces one attention module, in place; True where the neighboring weights took its gates."""
    path, _, name = gate.path.rpartition(".")
    parent = model.get_submodule(path)
    if isinstance(parent, WithAttention) and name == CHILD:
        if _fold_inserted(model, path, parent, gate.mean):
            detach(model, path)
            return True
    elif isinstance(parent, nn.Sequential) and _fold_in_sequence(parent, name, gate.mean):
        setattr(parent, name, nn.Identity())
        return True
    like = next(parent.get_submodule(name).parameters(), gate.mean)
    fixed = FixedGate(gate.mean.to(like.device, torch.float32))
    setattr(parent, name, fixed.train(parent.training))
    return False


def _fold_inserted(model: nn.Module, path: str, host: WithAttention, gate: Tensor) -> bool:
    if host.position == "before":
        return scale_input(host, gate)
    if host.position != "after":
        return False
    if scale_output(host, gate):
        return True
    above, _, name = path.rpartition(".")
    sequence = model.get_submodule(above)
    homogeneous = issubclass(host.plain, HOMOGENEOUS) and bool((gate >= 0).all())
    return isinstance(sequence, nn.Sequential) and homogeneous and scale_output_before(sequence, name, gate)


def _fold_in_sequence(sequence: nn.Sequential, name: str, gate: Tensor) -> bool:
    """Into the layer before it, else into the one behind it."""
    if scale_output_before(sequence, name, gate):
        return True
    layers = list(sequence.named_children())
    behind = [own for own, _ in layers].index(name) + 1
    return behind < len(layers) and scale_input(layers[behind][1], gate)
