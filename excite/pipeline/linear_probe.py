"""``--recipe probe``: a linear head on the features of pretrained weights, fitted in seconds."""

from __future__ import annotations

import numpy as np
import torch

from excite.config.task import MULTILABEL
from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.data.pixel_cache import pixels_key
from excite.inference.features import cached_features
from excite.models.head import linear_head
from excite.pipeline.class_weights import class_weights, label_weights
from excite.pipeline.context import RunContext
from excite.pipeline.finalize import Outputs
from excite.system.cache import cache_directory
from excite.training.label_probe import LabelProbe, fit_label_probe
from excite.training.linear_probe import Probe, fit_probe


def fit_linear_probe(context: RunContext, *, table: str = "metrics.csv") -> Outputs:
    """Fit the network's head on the training and the validation images together.

    Each of these images is held out once to choose C, the inverse of regularization strength. Temperature and
    thresholds are chosen on these held-out predictions.

    Args:
        table: file of the run folder for the log loss and accuracy of each C.

    Returns:
        held-out logits of the training and validation images, and logits of the test images.
    """
    features = probe_features(context)
    splits, classes = context.manifest.table["split"], context.manifest.classes
    fitted_on = splits.isin(["train", "val"]).to_numpy()
    images = Manifest(context.manifest.table[fitted_on], classes)
    probe = fit_head(context, features[fitted_on], images)
    names = ("C", "val_loss", "val_accuracy")
    context.run.write_table(table, [dict(zip(names, row, strict=True)) for row in probe.tried])
    context.display.fact("trained", f"linear probe of {fitted_on.sum():,} images; {describe_score(probe)}")
    context.display.detail(f"{features.shape[1]} features, C = {probe.strengths}")
    test_logits = features[(splits == "test").to_numpy()] @ probe.weight.T + probe.bias
    return Outputs(images, probe.held_out, test_logits)


def probe_features(context: RunContext) -> np.ndarray:
    """(N, F) float32, the input of the network's head for all images; from the cache if it has them.

    Raises:
        ExciteError: if the head is not a linear layer.
    """
    preprocessing = context.preprocessing
    return cached_features(
        context.model.to(context.device),
        context.pixels,
        pixels_key(context.manifest, preprocessing),
        preprocessing,
        cache_directory(),
        device=context.device,
        progress=context.display.stage("computing features"),
    )


def fit_head(context: RunContext, features: np.ndarray, images: Manifest) -> Probe | LabelProbe:
    """Fit a probe and copy its weights to the network's head.

    Args:
        features: (N, F), of the N images.

    Raises:
        ExciteError: if a class has too few groups to hold one out.
    """
    with context.display.waiting("fitting the linear probe"):
        probe = _fit(features, images, context.config)
    head = linear_head(context.model)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(probe.weight))
        head.bias.copy_(torch.from_numpy(probe.bias))
    return probe


def _fit(features: np.ndarray, images: Manifest, config: TrainConfig) -> Probe | LabelProbe:
    targets, groups, balanced = images.targets(), images.group_codes(), config.balance != "none"
    if images.task == MULTILABEL:
        weights = label_weights(images).numpy() if balanced else None
        return fit_label_probe(
            features, targets, groups, names=images.classes, weights=weights, seed=config.seed
        )
    return fit_probe(
        features,
        targets,
        groups,
        classes=len(images.classes),
        sample_weights=class_weights(images).numpy()[targets] if balanced else None,
        seed=config.seed,
    )


def describe_score(probe: Probe | LabelProbe) -> str:
    """Accuracy and log loss of the held-out images with the chosen C."""
    loss, accuracy = probe.score
    return f"held-out accuracy {accuracy:.1%}, log loss {loss:.3f}"
