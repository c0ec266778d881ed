"""The published sizes against the PyTorch side and keras.applications; no backend changes them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from torch import nn

import excite.keras
from excite.errors import ExciteError
from excite.keras import densenet, to_keras, to_torch
from excite.models import densenet as torch_densenet
from excite.models.densenet_config import VARIANTS

from .nets import EVERYWHERE, SE, in_keras, in_torch, keras_net, pictures, torch_net


@pytest.mark.parametrize("name", ["densenet121", "densenet161", "densenet169", "densenet201", "densenet264"])
def test_parameters_are_pytorchs_and_keras_counts_the_stored_statistics_too(name):
    model = getattr(excite.keras, name)()
    # count_params() counts every weight; PyTorch's parameters are those that are learned. The rest are the
    # running means and variances of the norms, which PyTorch keeps as buffers.
    learned = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert learned == VARIANTS[name].parameters
    with torch.device("meta"):
        twin = getattr(torch_densenet, name)()
    assert learned == sum(parameter.numel() for parameter in twin.parameters())
    norms = [module for module in twin.modules() if isinstance(module, nn.BatchNorm2d)]
    statistics = sum(2 * module.num_features for module in norms)
    assert model.count_params() == learned + statistics
    if name == "densenet121":
        assert (learned, statistics, model.count_params()) == (7_978_856, 83_648, 8_062_504)
    published = {"densenet121": "DenseNet121", "densenet169": "DenseNet169", "densenet201": "DenseNet201"}
    if name in published:
        theirs = getattr(keras.applications, published[name])(weights=None)
        assert theirs.count_params() == model.count_params()
        assert named(theirs) == named(model)


def named(model: keras.Model) -> list[tuple[str, list[tuple[int, ...]]]]:
    return [
        (layer.name, [tuple(weight.shape) for weight in layer.weights])
        for layer in model.layers
        if layer.weights
    ]


def test_attention_adds_what_it_adds_in_pytorch():
    for placement in ("final", EVERYWHERE):
        with torch.device("meta"):
            twin = torch_densenet.densenet121(attention="se", placement=placement)
        model = excite.keras.densenet121(attention="se", placement=placement)
        learned = sum(np.prod(weight.shape) for weight in model.trainable_weights)
        assert learned == sum(parameter.numel() for parameter in twin.parameters())


@pytest.fixture(scope="module")
def net121() -> nn.Module:
    return torch_net(growth_rate=32, block_config=(6, 12, 24, 16), init_channels=64, num_classes=1000)


@pytest.fixture(scope="module")
def applications() -> keras.Model:
    return keras.applications.DenseNet121(weights=None, classifier_activation=None, input_shape=(96, 96, 3))


def test_keras_applications_gives_our_logits_with_our_weights_and_the_reverse(net121, applications, tmp_path):
    images = pictures(96, 96)
    wanted = in_torch(net121, images)
    to_keras(net121, applications)
    np.testing.assert_allclose(in_keras(applications, images), wanted, rtol=0, atol=1e-5 * abs(wanted).max())

    back = torch_densenet.densenet121().eval()
    to_torch(applications, back)
    np.testing.assert_allclose(in_torch(back, images), wanted, rtol=0, atol=1e-5 * abs(wanted).max())

    # Their weights files load into our model, by the order of layers and by name, old format and new.
    said = in_keras(applications, images)
    for file, options in (("w.weights.h5", {}), ("old.h5", {}), ("old.h5", {"by_name": True})):
        path = tmp_path / file
        if file.startswith("old"):
            save_as_keras_2(applications, path)
        else:
            applications.save_weights(path)
        ours = excite.keras.densenet121(image_size=96, epsilon=1.001e-5)
        ours.load_weights(path, **options)
        np.testing.assert_allclose(in_keras(ours, images), said, rtol=0, atol=1e-5 * abs(said).max())
    # By name also into a model with attention, which starts as the identity.
    gated = excite.keras.densenet121(
        image_size=96,
        epsilon=1.001e-5,
        attention="se",
        placement=EVERYWHERE,
        attention_options={"identity": True},
    )
    gated.load_weights(tmp_path / "old.h5", by_name=True)
    np.testing.assert_allclose(in_keras(gated, images), said, rtol=0, atol=1e-5 * abs(said).max())


def save_as_keras_2(model: keras.Model, path: object) -> None:
    """The format of the files that keras.applications fetches."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

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
def test_networks_of_keras_applications_take_attention_with_an_identity_start(name, standard, channels):
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
def test_blocks_with_attention_of_their_own_say_so_and_take_more_elsewhere(name, own, blocks):
    model = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(64, 64, 3))
    table = excite.keras.sites(model)
    assert (sum(site.has_attention for site in table), len(table)) == (own, blocks)
    with pytest.raises(ExciteError, match=f"{own} of {blocks} sites have attention already"):
        excite.keras.insert(model, "se")
    free = [site.block for site in table if not site.has_attention]
    images = pictures(64, 64, n=1)
    wanted = in_keras(model, images)
    for options in ({"strategy": "post"}, *([{"where": free}] if free else [])):
        gated = excite.keras.insert(model, "se", identity=True, reduction=4, **options)
        assert np.array_equal(in_keras(gated, images), wanted)


def test_a_network_that_is_not_known_is_refused():
    model = keras.applications.Xception(weights=None, include_top=False, input_shape=(75, 75, 3))
    with pytest.raises(ExciteError, match="no block of xception is known here"):
        excite.keras.insert(model, "se")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"placement": "finale", **SE}, "did you mean 'final'"),
        ({"attention": "eca"}, "attention 'eca' is not there for Keras"),
        ({**SE, "attention_options": {"reductoin": 2}}, "did you mean 'reduction'"),
        ({"stem": "imagnet"}, "did you mean 'imagenet'"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"pooling": "avg"}, "pooling is chosen where include_top is False"),
        ({"include_top": False, "pooling": "mean"}, "pooling must be avg, max or None"),
        ({"include_top": False, "classifier_activation": "softmax"}, "no classifier to activate"),
        ({"compression": 0.0}, "compression must be above 0"),
        ({"data_format": "NCHW"}, "data_format must be one of"),
        ({"block_config": (1, 1, 1), "image_size": 12}, "needs at least 13 pixels"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ExciteError, match=message) as caught:
        keras_net(**options)
    assert caught.value.exit_code == 2


def test_a_misspelt_option_of_a_named_network_is_answered_with_the_nearest():
    with pytest.raises(ExciteError, match="did you mean 'growth_rate'"):
        excite.keras.densenet121(growthrate=3)


def test_options_without_the_top():
    shapes = {
        pooling: keras_net(include_top=False, pooling=pooling, image_size=(33, 40)).output_shape
        for pooling in (None, "avg", "max")
    }
    assert shapes == {None: (None, 4, 5, 12), "avg": (None, 12), "max": (None, 12)}
    assert (
        keras_net(classifier_activation="softmax").get_layer("predictions").activation.__name__ == "softmax"
    )
    rows = densenet.densenet_bc_40_12(attention="se").get_layer("conv4_se").output.shape
    assert tuple(rows) == (None, 8, 8, 132)


def test_the_smallest_image_is_the_one_that_is_named():
    model = keras_net(block_config=(1, 1, 1), image_size=13)
    assert in_keras(model, pictures(13, 13)).shape == (2, 5)


def test_a_summary_names_every_layer():
    lines: list[str] = []
    keras_net(**SE, image_size=32).summary(print_fn=lines.append, line_length=120)
    text = "\n".join(map(str, lines))
    for part in (
        "conv1_conv",
        "conv2_block2_concat",
        "pool2_pool",
        "conv3_se",
        "SqueezeExcitation",
        "predictions",
    ):
        assert part in text
