"""Trained networks and pictures for the tests of explanations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from excite.data.decoding import decode
from excite.data.preprocessing import Preprocessing
from excite.models.catalog import create_model
from excite.models.weights import load_weights

LITE = Preprocessing(224, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")


def lite0() -> torch.nn.Module:
    """EfficientNet-Lite0 with ImageNet weights from its package."""
    return create_model("timm:tf_efficientnet_lite0", pretrained=True).eval()


def photos(data: Path, count: int, preprocessing: Preprocessing = LITE) -> Tensor:
    """Photos of ants and bees as input of a network: (count, 3, S, S)."""
    files = [
        file
        for folder in sorted((data / "hymenoptera" / "val").iterdir())
        for file in sorted(folder.glob("*.jpg"))[: (count + 1) // 2]
    ]
    pixels = np.stack([preprocessing.pixels(decode(str(file))) for file in files[:count]])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    return (images - mean) / std


def cifar_resnet(data: Path) -> torch.nn.Module:
    """ResNet-20 with weights trained on CIFAR-10."""
    model = create_model("cifar_resnet20", num_classes=10)
    load_weights(model, data / "weights" / "cifar10_resnet20.safetensors")
    return model.eval()
