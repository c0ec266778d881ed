"""Configurations that are resolved for a data set of two images."""

from __future__ import annotations

import pandas as pd

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.pipeline.resolve import resolve


def manifest(width: int, height: int, **columns: object) -> Manifest:
    table = pd.DataFrame({"path": ["/x/1.png", "/x/2.png"], "label": ["a", "b"]})
    return Manifest(table.assign(width=width, height=height, **columns), ("a", "b"))


def resolved(
    width: int = 300, height: int = 200, columns: dict[str, object] | None = None, **options: object
) -> TrainConfig:
    options = {"device": "cpu", "pretrained": False, **options}
    return resolve(TrainConfig().replace(**options), manifest(width, height, **(columns or {})))[0]


TRAINED = {"weights": "w.safetensors", "model": "mobilenetv1_100"}
