"""Statistics of gates, streamed over batches, against NumPy over all images at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import excite
from excite.errors import ExciteError
from excite.insertion.gate_statistics import accuracy_of, measure_gates


def test_mean_and_deviation_are_those_of_numpy() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), excite.SqueezeExcitation(8, reduction=2))
    images = torch.randn(10, 3, 12, 12)
    gates: list[Tensor] = []
    model[1].register_forward_pre_hook(lambda module, inputs: gates.append(module.gates(inputs[0])))
    with torch.no_grad():
        model(images)
    values = gates[0].double().numpy().reshape(10, 8)
    batches = list(zip(images.split(3), torch.zeros(10).split(3), strict=True))
    (statistics,) = measure_gates(nn.Sequential(model, nn.Flatten()), batches)
    assert statistics.path == "0.1"
    np.testing.assert_allclose(statistics.mean, values.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(statistics.std, values.std(axis=0), rtol=1e-3, atol=1e-7)
    relative = np.sqrt(values.var(axis=0).mean() / (values.mean(axis=0) ** 2).mean())
    assert statistics.variation == pytest.approx(relative, rel=1e-3)


def test_a_model_without_gates_and_a_loader_without_images_are_refused() -> None:
    with pytest.raises(ExciteError, match=r"this model has no gates .* needs a method gates\(u\)"):
        measure_gates(nn.Conv2d(3, 4, 1), [])
    with pytest.raises(ExciteError, match="the loader has no images"):
        measure_gates(nn.Sequential(excite.SqueezeExcitation(4)), [])


def test_accuracy() -> None:
    assert accuracy_of(torch.eye(4), torch.tensor([0, 1, 2, 0])) == 0.75
