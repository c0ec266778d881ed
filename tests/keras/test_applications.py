"""The networks of keras.applications: weights in both directions, attention with an identity start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications.densenet import DenseNet
from keras.src.legacy.saving import legacy_h5_format

import excite.keras
from excite.errors import ExciteError
from excite.keras import to_keras, to_torch
from excite.models import densenet as torch_densenet
from tests.keras.nets import EVERYWHERE, in_keras, in_torch, keras_net, pictures, torch_net

pytestmark = pytest.mark.once

BLOCKS = (2, 2, 2, 2)
# What keras.applications fixes; test_densenet.py compares the layers of the published sizes.
CONFIG: dict[str, Any] = {"growth_rate": 32, "block_config": BLOCKS, "init_channels": 64, "num_classes": 1000}


def test_weights_go_to_keras_applications_and_back() -> None:
    net, images = torch_net(**CONFIG), pictures(96, 96)
    expected = in_torch(net, images)
    theirs = applications_densenet()
    to_keras(net, theirs)
    assert_close(in_keras(theirs, images), expected)

    back = torch_densenet.DenseNet(**CONFIG).eval()
    to_torch(theirs, back)
    assert_close(in_torch(back, images), expected)


@pytest.mark.parametrize(
    ("file", "options"), [("w.weights.h5", {}), ("old.h5", {}), ("old.h5", {"by_name": True})]
)
def test_weights_files_of_keras_applications_load(
    file: str, options: dict[str, bool], tmp_path: Path
) -> None:
    """By the order of layers and by name, in the old format and in the new one."""
    theirs, images = applications_densenet(), pictures(96, 96)
    save = save_as_keras_2 if file == "old.h5" else keras.Model.save_weights
    save(theirs, tmp_path / file)
    expected = in_keras(theirs, images)

    ours = keras_net(**CONFIG, image_size=96, epsilon=1.001e-5)
    ours.load_weights(tmp_path / file, **options)
    assert_close(in_keras(ours, images), expected)
    if options:  # by name also into a network with attention, which starts as the identity
        attention = {"attention": "se", "placement": EVERYWHERE, "attention_options": {"identity": True}}
        gated = keras_net(**CONFIG, **attention, image_size=96, epsilon=1.001e-5)
        gated.load_weights(tmp_path / file, **options)
        assert_close(in_keras(gated, images), expected)


def applications_densenet() -> keras.Model:
    return DenseNet(BLOCKS, weights=None, classifier_activation=None, input_shape=(96, 96, 3))


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * abs(expected).max())


def save_as_keras_2(model: keras.Model, path: Path) -> None:
    """The format of the weights that keras.applications downloads."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


@pytest.mark.parametrize(
    ("name", "standard", "channels"),
    [
        ("ResNet50", 16, 256),
        ("ResNet50V2", 16, 256),
        ("VGG16", 13, 64),
        ("InceptionV3", 11, 256),
        ("InceptionResNetV2", 40, 320),
        ("MobileNet", 13, 64),
        ("MobileNetV2", 17, 32),
        ("DenseNet121", 58, 32),
    ],
)
def test_networks_of_keras_applications_take_attention_with_an_identity_start(
    name: str, standard: int, channels: int
) -> None:
    options = {"weights": None, "include_top": False, "pooling": "avg", "input_shape": (75, 75, 3)}
    model = getattr(keras.applications, name)(**options)
    table = excite.keras.sites(model)
    assert (len(table), table[0].channels) == (standard, channels)
    gated = excite.keras.insert(model, "se", identity=True, reduction=16)
    images = pictures(75, 75, n=1)
    assert np.array_equal(in_keras(gated, images), in_keras(model, images))
    added = sum(2 * s.channels * (s.channels // 16) + s.channels + s.channels // 16 for s in table)
    assert gated.count_params() - model.count_params() == added


@pytest.mark.parametrize(
    ("name", "own", "blocks"),
    [("MobileNetV3Small", 9, 11), ("EfficientNetB0", 16, 16), ("EfficientNetV2B0", 16, 21)],
)
def test_blocks_with_native_attention_report_it_and_support_other_placements(
    name: str, own: int, blocks: int
) -> None:
    model = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(64, 64, 3))
    table = excite.keras.sites(model)
    assert (sum(site.has_attention for site in table), len(table)) == (own, blocks)
    with pytest.raises(ExciteError, match=f"{own} of {blocks} sites already have attention"):
        excite.keras.insert(model, "se")
    free = [site.block for site in table if not site.has_attention]
    images = pictures(64, 64, n=1)
    expected = in_keras(model, images)
    for options in ({"placement": "post"}, *([{"where": free}] if free else [])):
        gated = excite.keras.insert(model, "se", identity=True, reduction=4, **options)
        assert np.array_equal(in_keras(gated, images), expected)


def test_a_network_that_is_not_known_is_refused() -> None:
    model = keras.applications.Xception(weights=None, include_top=False, input_shape=(75, 75, 3))
    with pytest.raises(ExciteError, match="xception contains no known block"):
        excite.keras.insert(model, "se")
