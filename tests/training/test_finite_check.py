"""A loss that is not finite is found with its first step, on any device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from excite.errors import ExciteError
from excite.system.world import World
from excite.training.finite_check import CHECK_EVERY, FiniteCheck


def check(device: str) -> FiniteCheck:
    return FiniteCheck(steps=10, device=torch.device(device), world=World(), folder=Path("checkpoints"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_on_the_cpu_each_number_is_checked_at_once(bad: float) -> None:
    one = check("cpu")
    one.add(24, torch.tensor(1.5))
    with pytest.raises(ExciteError, match=r"epoch 3: .* not a finite number at step 25"):
        one.add(25, torch.tensor(bad))


def test_on_an_accelerator_numbers_are_checked_together_and_the_first_bad_one_is_named() -> None:
    one = check("cuda")  # the numbers themselves may be anywhere
    for step in range(1, CHECK_EVERY):
        one.add(step, torch.tensor(float("nan") if step in (5, 7) else 0.0))
    with pytest.raises(ExciteError, match="at step 5"):
        one.add(CHECK_EVERY, torch.tensor(0.0))


def test_finite_numbers_are_forgotten() -> None:
    one = check("cuda")
    one.add(1, torch.tensor(0.0))
    one.validate()
    one.validate()
