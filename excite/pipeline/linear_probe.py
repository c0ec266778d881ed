"""``--recipe probe``: a linear head on the features of trained weights; seconds instead of hours."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.data.pixel_cache import pixels_key
from excite.inference.features import cached_features
from excite.models.head import linear_head
from excite.pipeline.class_weights import class_weights
from excite.pipeline.finalize import Outputs
from excite.runs.derive import preprocessing_of
from excite.runs.run import Run
from excite.system.cache import cache_directory
from excite.system.progress import Display
from excite.training.linear_probe import Probe, fit_probe


def probe(
    run: Run,
    config: TrainConfig,
    manifest: Manifest,
    model: nn.Module,
    pixels: np.ndarray,
    device: torch.device,
    display: Display,
    *,
    table: str = "metrics.csv",
) -> Outputs:
    """Fit the head on all images that are not for the test, in the model itself; what it says of all of them.

    Training and validation images are one: each is held out once while the strength is chosen, and these
    held-out predictions are what temperature and thresholds are chosen with.

    Args:
        table: in the run's folder, for what each strength is worth.
    """
    features = probe_features(config, manifest, model, pixels, device, display)
    known = manifest.table["split"].isin(["train", "val"]).to_numpy()
    part = Manifest(manifest.table[known], manifest.classes)
    fitted = fit_head(model, features[known], part, config)
    names = ("strength", "val_loss", "val_accuracy")
    run.write_table(table, [dict(zip(names, row, strict=True)) for row in fitted.tried])
    display.note(
        f"probe: {features.shape[1]} features of {known.sum()} images, strength {fitted.strength:g}: "
        f"{describe_score(fitted)}"
    )
    test = features[(manifest.table["split"] == "test").to_numpy()] @ fitted.weight.T + fitted.bias
    return Outputs(part, fitted.held_out, test)


def probe_features(
    config: TrainConfig,
    manifest: Manifest,
    model: nn.Module,
    pixels: np.ndarray,
    device: torch.device,
    display: Display,
) -> np.ndarray:
    """(N, F) float32: what the model's head sees of all images, from the cache where they are known.

    Raises: ExciteError where the head is no linear layer.
    """
    preprocessing = preprocessing_of(config)
    return cached_features(
        model.to(device),
        pixels,
        pixels_key(manifest, preprocessing),
        preprocessing,
        cache_directory(),
        device=device,
        progress=display.stage("computing features"),
    )


def fit_head(model: nn.Module, features: np.ndarray, part: Manifest, config: TrainConfig) -> Probe:
    """Fit a probe, and give the model its weights.

    Args:
        features: (N, F) of the images in ``part``.

    Raises:
        ExciteError: if a class has too few groups to hold one out.
    """
    targets = part.targets()
    fitted = fit_probe(
        features,
        targets,
        part.group_codes(),
        classes=len(part.classes),
        shares=class_weights(part).numpy()[targets] if config.balance != "none" else None,
        seed=config.seed,
    )
    head = linear_head(model)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(fitted.weight))
        head.bias.copy_(torch.from_numpy(fitted.bias))
    return fitted


def describe_score(fitted: Probe) -> str:
    """What the chosen strength is worth on held-out images, as words."""
    _, loss, accuracy = min(fitted.tried, key=lambda row: row[1])
    return f"{accuracy:.1%} of held-out images right, log loss {loss:.3f}"
