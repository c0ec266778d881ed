"""``--recipe probe``: a linear head on the features of trained weights; seconds instead of hours."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from excite.data.cache import cache_directory
from excite.data.manifest import Manifest
from excite.data.pixels import pixels_key
from excite.models.head import linear_head
from excite.runs.conclusion import Outputs
from excite.runs.features import cached_features
from excite.runs.run import Run
from excite.runs.settle import image_shares, preprocessing_of
from excite.training.config import TrainConfig
from excite.training.probe import fit_probe
from excite.training.progress import Display


def probe(
    run: Run,
    config: TrainConfig,
    manifest: Manifest,
    model: nn.Module,
    pixels: np.ndarray,
    device: torch.device,
    display: Display,
) -> Outputs:
    """Fit the head on all images that are not for the test, in the model itself; what it says of all of them.

    Training and validation images are one: each is held out once while the strength is chosen, and these
    held-out predictions are what temperature and thresholds are chosen with.
    """
    preprocessing = preprocessing_of(config)
    features = cached_features(
        model.to(device),
        pixels,
        pixels_key(manifest, preprocessing),
        preprocessing,
        cache_directory(),
        device=device,
        progress=display.stage("computing features"),
    )
    known = manifest.table["split"].isin(["train", "val"]).to_numpy()
    part = Manifest(manifest.table[known], manifest.classes)
    targets = part.targets()
    fitted = fit_probe(
        features[known],
        targets,
        part.group_codes(),
        classes=len(manifest.classes),
        shares=image_shares(part, config.balance),
        seed=config.seed,
    )
    head = linear_head(model)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(fitted.weight))
        if head.bias is None:
            head.bias = nn.Parameter(torch.zeros(len(manifest.classes), device=device))
        head.bias.copy_(torch.from_numpy(fitted.bias))
    names = ("strength", "val_loss", "val_accuracy")
    run.write_table("metrics.csv", [dict(zip(names, row, strict=True)) for row in fitted.tried])
    _, loss, accuracy = min(fitted.tried, key=lambda row: row[1])
    display.note(
        f"probe: {features.shape[1]} features of {known.sum()} images, strength {fitted.strength:g}: "
        f"{accuracy:.1%} of held-out images right, log loss {loss:.3f}"
    )
    test = features[(manifest.table["split"] == "test").to_numpy()] @ fitted.weight.T + fitted.bias
    return Outputs(part, fitted.held_out, test)
