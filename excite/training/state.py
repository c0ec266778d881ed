"""The state of a training, saved to and loaded from a checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from excite.errors import ExciteError
from excite.training.optimization import AveragedModel


@dataclass
class Counters:
    """The progress of a training.

    Args:
        epoch: finished epochs.
        step: finished steps of the current epoch.
        seconds: training time, including earlier sessions.
        best_epoch: the epoch (from 1) whose weights are saved; 0 before the first.
        best_score: its validation accuracy and -loss, the monitored one first; empty before the first epoch.
        history: one row per epoch.
        finished: why the training has ended; empty if it has not.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_score: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    finished: str = ""


class TrainingState:
    """Model, averaged model, optimizer, loss scaler, counters, and the running sums of the epoch.

    There is no random state: every draw is a function of (seed, epoch, step).
    """

    def __init__(
        self,
        model: nn.Module,
        average: AveragedModel,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
    ) -> None:
        self.model = model
        self.average = average
        self.optimizer = optimizer
        self.scaler = scaler
        self.counters = Counters()
        device = next(model.parameters()).device
        self.sums = torch.zeros(3, device=device)  # loss, correct predictions, and images of the epoch so far

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, by name."""
        named = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        named |= {f"average.{name}": value for name, value in self.average.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            named |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
        return named | {"sums": self.sums}

    def facts(self) -> dict[str, Any]:
        """Everything that is not a tensor, for JSON."""
        return {"counters": asdict(self.counters), "scaler": self.scaler.state_dict()}

    def load(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Load a checkpoint. Raises: ExciteError if it belongs to another network."""
        try:
            self.model.load_state_dict(_under("model.", tensors))
            self.average.model.load_state_dict(_under("average.", tensors))
        except RuntimeError as error:
            raise ExciteError(
                "the checkpoint belongs to another network", hint="start again without --resume"
            ) from error
        optimizer = self.optimizer.state_dict()
        for name, value in _under("optimizer.", tensors).items():
            index, slot = name.split(".")
            optimizer["state"].setdefault(int(index), {})[slot] = value
        self._match_layout(optimizer["state"])
        self.optimizer.load_state_dict(optimizer)
        self.sums.copy_(tensors["sums"])
        self.scaler.load_state_dict(facts["scaler"])
        names = {each.name for each in fields(Counters)}
        self.counters = Counters(
            **{name: value for name, value in facts["counters"].items() if name in names}
        )

    def _match_layout(self, slots: dict[int, dict[str, Tensor]]) -> None:
        """Give each moment the memory layout of its parameter, which fused optimizers expect."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for index, values in slots.items():
            for name, value in values.items():
                if value.shape == parameters[index].shape:
                    values[name] = torch.empty_like(parameters[index]).copy_(value)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
