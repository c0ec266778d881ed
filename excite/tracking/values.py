"""The numbers that trackers record of a step and of a finished training, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from excite.tracking.hook import StepEnd


def step_values(step: StepEnd) -> dict[str, float]:
    """Loss, accuracy, norm of the gradient, and learning rate of a step."""
    return {
        "step_loss": step.loss,
        "step_accuracy": step.accuracy,
        "step_gradient_norm": step.gradient_norm,
        "step_lr": step.lr,
    }


def final_values(metrics: Mapping[str, Any]) -> dict[str, float]:
    """``split/metric`` of the final metrics, with the bounds of their intervals, without those undefined.

    >>> final_values({"test": {"n": 20, "accuracy": {"value": 0.9, "low": 0.7, "high": None}}})
    {'test/n': 20.0, 'test/accuracy': 0.9, 'test/accuracy_low': 0.7}
    """
    found: dict[str, float] = {}
    for split in ("val", "test"):
        for name, value in metrics.get(split, {}).items():
            parts = value if isinstance(value, Mapping) else {"value": value}
            endings = {"value": "", "low": "_low", "high": "_high"}
            found |= {
                f"{split}/{name}{ending}": float(parts[part])
                for part, ending in endings.items()
                if _is_number(parts.get(part))
            }
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
