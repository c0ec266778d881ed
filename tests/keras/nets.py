"""The same small network in PyTorch and in Keras, and helpers of the tests."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import torch
from torch import nn

from excite.keras import densenet
from excite.models.densenet import DenseNet

SMALL: dict[str, Any] = {"growth_rate": 4, "block_config": (2, 1), "init_channels": 8, "num_classes": 5}
SE: dict[str, Any] = {"attention": "se", "attention_options": {"reduction": 2}}
EVERYWHERE = "final+layer+block+transition"


def torch_net(seed: int = 0, **options: Any) -> DenseNet:
    """A network whose norms are as after training: no statistic is zero or one."""
    torch.manual_seed(seed)
    model = DenseNet(**{**SMALL, **options}).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def keras_net(**options: Any) -> keras.Model:
    return densenet.build(**{**SMALL, "image_size": None, **options})


def pictures(*sides: int, n: int = 2, seed: int = 0) -> np.ndarray:
    """(N, H, W, 3) float32."""
    return np.random.default_rng(seed).normal(size=(n, *sides, 3)).astype(np.float32)


def in_torch(model: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()


def in_keras(model: Any, images: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(images, training=False))


def values(model: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in model.weights]


MAPS = np.random.default_rng(0).normal(size=(2, 9, 9, 8)).astype(np.float32)
