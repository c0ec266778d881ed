"""Export to a .keras file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from excite.errors import BAD_USAGE, ExciteError
from excite.export.parity import Reading, Written
from excite.export.source import Source
from excite.models.densenet import DenseNet
from excite.models.densenet_config import VARIANTS
from excite.runs.classifier import Classifier


@contextmanager
def _keras_on_torch() -> Iterator[None]:
    """Import Keras with the PyTorch backend within the block; the environment is restored afterwards.

    Every backend writes the same file, and PyTorch is already loaded. Together with TensorFlow or JAX in one
    process, importing triton can crash (torch 2.14, triton 3.8, tensorflow 2.21, jax 0.10). If Keras is
    already imported, its backend stays.
    """
    before = os.environ.get("KERAS_BACKEND")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    try:
        yield
    finally:
        os.environ.pop("KERAS_BACKEND", None)
        if before is not None:
            os.environ["KERAS_BACKEND"] = before


with _keras_on_torch():
    from excite.keras import (  # raises ExciteError if Keras is missing
        ClassProbabilities,
        densenet,
        to_keras,
    )

    import keras  # isort: skip


def write(source: Source, path: Path) -> Written:
    """Write a model from uint8 images (N, S, S, 3) to calibrated probabilities (N, C).

    Normalization and calibration are layers of the model; the last layer, ``probabilities``, has the names of
    the classes and the operating point, and its method ``decide`` returns the predicted classes.

    Raises:
        ExciteError: for networks other than excite's DenseNets, attention that ``excite.keras`` lacks, and
            classifiers with --tta crops.
    """
    classifier = source.classifier
    if classifier.preprocessing.tta == "crops":
        what = "Keras files do not support the test-time augmentation crops"
        raise ExciteError(
            what, where="--format keras", hint="train with --tta none or --tta flip", exit_code=BAD_USAGE
        )
    options = _options(classifier)
    with _plain_settings():
        size = classifier.preprocessing.image_size
        pixels = keras.Input((size, size, 3), dtype="uint8", name="pixels")
        # input = (pixel / 255 - mean) / std
        mean, std = (
            255 * np.array(classifier.preprocessing.mean),
            255 * np.array(classifier.preprocessing.std),
        )
        images = keras.layers.Normalization(
            axis=-1, mean=mean.tolist(), variance=(std**2).tolist(), name="normalize"
        )(pixels)
        if classifier.preprocessing.tta == "flip":  # one network, called twice
            network = densenet.build(**options, image_size=size)
            both = [network(images), network(keras.ops.flip(images, axis=2))]
            logits = keras.layers.Average(name="flip_average")(both)
        else:
            network = densenet.build(**options, input_tensor=images)
            logits = network.output
        to_keras(classifier.model, network)
        point = classifier.operating_point
        last = ClassProbabilities(
            classifier.classes,
            **classifier.calibration.to_dict(),
            positive=None if point is None else point.label,
            threshold=None if point is None else point.threshold,
            name="probabilities",
        )
        model = keras.Model(pixels, last(logits), name=options["name"])
        model.save(path)
    return Written(partial(_ask, path))


def _ask(path: Path, pixels: np.ndarray, images: Sequence[str], batch_sizes: Sequence[int]) -> Reading:
    """Load the file as users do, without custom objects."""
    model = keras.saving.load_model(path)
    each = [model.predict(pixels, batch_size=size, verbose=0) for size in batch_sizes]
    return Reading(np.stack(each))


def _options(classifier: Classifier) -> dict[str, Any]:
    """The arguments of ``excite.keras.densenet.build`` for the run's network."""
    architecture = dict(classifier.architecture)
    name = architecture["name"].rpartition(":")[2]
    if not isinstance(classifier.model, DenseNet) or "truncate_after" in architecture:
        what = f"{architecture['name']} cannot be exported to Keras; only excite's DenseNets can"
        raise ExciteError(what, where="--format keras", exit_code=BAD_USAGE)
    # Arguments of create_model that are not options of the network.
    for other in ("name", "image_size", "stem", "where", "stages", "pretrained"):
        architecture.pop(other, None)
    variant = VARIANTS[name]
    return {
        "growth_rate": variant.growth_rate,
        "block_config": variant.block_config,
        "init_channels": variant.init_channels,
        # Chosen by the image size if not given, so it is read from the network.
        "stem": "imagenet" if hasattr(classifier.model.features, "norm0") else "cifar",
        "name": name,
        **architecture,
        "placement": architecture.get("placement") or "final",
    }


@contextmanager
def _plain_settings() -> Iterator[None]:
    """Within the block, Keras uses float32 and channels last, whatever keras.json says."""
    policy, layout = keras.config.dtype_policy(), keras.config.image_data_format()
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format(layout)
