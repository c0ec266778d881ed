"""Networks side by side: each member's probabilities, and their mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from excite.inference.ensemble_network import EnsembleNetwork, MeanEnsemble


def test_the_mean_is_numpys_for_separate_and_for_stacked_networks() -> None:
    torch.manual_seed(0)
    apart = [nn.Sequential(nn.Flatten(), nn.Linear(48, 3)) for _ in range(4)]
    stacked = nn.Sequential(nn.Flatten(), nn.Linear(48, 12))
    with torch.no_grad():
        stacked[1].weight.copy_(torch.cat([network[1].weight for network in apart]))
        stacked[1].bias.copy_(torch.cat([network[1].bias for network in apart]))
    temperatures = [0.5, 1.0, 2.0, 3.0]
    intercepts = [[0.0, 0.0, 0.0], [0.5, -0.5, 0.0], [1.0, 0.0, -1.0], [0.2, 0.2, -0.4]]
    images = torch.randn(6, 3, 4, 4)
    with torch.inference_mode():
        logits = [network(images).double().numpy() for network in apart]
        scaled = zip(logits, temperatures, intercepts, strict=True)
        each = [np.exp(one / t + np.array(b)) for one, t, b in scaled]
        each = np.stack([one / one.sum(axis=1, keepdims=True) for one in each], axis=1)
        for networks in (apart, [stacked]):
            members = EnsembleNetwork(networks, temperatures, intercepts)
            assert members(images).softmax(dim=2).numpy() == pytest.approx(each, abs=1e-6)
            mean = MeanEnsemble(members)(images).exp().numpy()
            assert mean == pytest.approx(each.mean(axis=1), abs=1e-6)  # type: ignore[attr-defined]
            assert mean.sum(axis=1) == pytest.approx(np.ones(6), abs=1e-6)
