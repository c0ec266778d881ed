"""A training state that is saved and loaded continues exactly as the original."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn

from excite.errors import ExciteError
from excite.training.optimization import AveragedModel
from excite.training.state import Counters, TrainingState


def network(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width * 4, 2))


def state_of(model: nn.Module) -> TrainingState:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    return TrainingState(
        model, AveragedModel(model, 10), optimizer, torch.amp.GradScaler("cpu", enabled=False)
    )


def step(state: TrainingState, seed: int) -> None:
    images = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    state.optimizer.zero_grad()
    state.model(images).square().mean().backward()
    state.optimizer.step()
    state.average.update(seed + 1)


def test_a_loaded_state_continues_bit_for_bit() -> None:
    original = state_of(network())
    for seed in range(3):
        step(original, seed)
    original.sums += 7
    original.counters = Counters(epoch=2, step=1, best_score=[0.5, -0.1], history=[{"val_loss": 0.1}])
    saved = {name: value.clone() for name, value in original.tensors().items()}
    facts = json.loads(json.dumps(original.facts()))
    again = state_of(network())
    again.load(saved, facts)
    assert again.counters == original.counters
    for seed in range(3, 6):
        step(original, seed)
        step(again, seed)
    for name, value in original.tensors().items():
        assert torch.equal(value, again.tensors()[name]), name


def test_moments_get_the_memory_format_of_their_parameters() -> None:
    original = state_of(network().to(memory_format=torch.channels_last))
    step(original, 0)
    saved = {name: value.contiguous() for name, value in original.tensors().items()}  # as a file stores them
    again = state_of(network().to(memory_format=torch.channels_last))
    again.load(saved, original.facts())
    parameter = next(again.model.parameters())
    assert again.optimizer.state[parameter]["exp_avg"].stride() == parameter.stride()


def test_the_checkpoint_of_another_network_is_refused() -> None:
    original = state_of(network())
    with pytest.raises(ExciteError, match=r"belongs to another network .start again without --resume"):
        state_of(network(width=5)).load(copy.deepcopy(original.tensors()), original.facts())
