"""MPS has no float64: nothing that is computed on the device of a training may have it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import excite
from excite.attention.registry import attention_names, create_attention
from excite.data.augmentation import DRAWS, PRESETS, augment, normalize
from excite.training.optimization import build_optimizer


class WithoutFloat64(TorchDispatchMode):
    """Fails for an operator with a tensor of float64, as on MPS."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, Tensor) and each.dtype == torch.float64:
                raise TypeError(f"{function} gives float64, which MPS does not have")
        return result


def test_the_mode_notices_float64() -> None:
    with WithoutFloat64(), pytest.raises(TypeError, match="float64"):
        torch.ones(2).double()


@pytest.mark.parametrize("kind", attention_names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_attention(kind: str, dtype: torch.dtype) -> None:
    module = create_attention(kind, 16)
    images = torch.randn(2, 16, 8, 8).to(dtype).requires_grad_()
    with WithoutFloat64():
        module(images).float().sum().backward()
    assert images.grad is not None


@pytest.mark.parametrize("name", ["densenet_bc_40_12", "cifar_resnet20"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_step_of_training(name: str, optimizer: str) -> None:
    model = excite.create_model(name, num_classes=3, attention="se")
    updates = build_optimizer(model, optimizer, weight_decay=0.05, momentum=0.9, layer_decay=1.0)
    pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    with WithoutFloat64():
        images = augment(pixels, torch.rand(4, DRAWS), PRESETS["standard"])
        images = normalize(images, torch.tensor((0.5,) * 3), torch.tensor((0.5,) * 3))
        loss = F.cross_entropy(model(images), torch.tensor([0, 1, 2, 0]))
        loss.backward()
        updates.step()
    assert torch.isfinite(loss)
