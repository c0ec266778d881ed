"""DenseNet in Keras: one training step as in PyTorch, precision, options, and published sizes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn

import excite.keras
from excite.errors import ExciteError
from excite.keras import convert, densenet, to_keras
from excite.models import densenet as torch_densenet
from excite.models.densenet_config import VARIANTS
from tests.keras.nets import EVERYWHERE, SE, SMALL, in_keras, in_torch, keras_net, pictures, torch_net


def test_one_step_is_pytorchs_and_reaches_every_variable() -> None:
    net = torch_net(**SE, placement=EVERYWHERE)
    model = keras_net(**SE, placement=EVERYWHERE)
    to_keras(net, model)
    before = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    images, labels = pictures(33, 33, n=8), np.arange(8) % 5
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss=loss)
    loss_value = float(np.asarray(model.train_on_batch(images, labels)))

    net.train()
    expected = torch.nn.functional.cross_entropy(
        net(torch.from_numpy(images).permute(0, 3, 1, 2)), torch.from_numpy(labels)
    )
    expected.backward()
    with torch.no_grad():  # by hand: torch.optim imports triton, which crashes after TensorFlow
        for parameter in net.parameters():
            parameter.sub_(0.05 * parameter.grad)
    assert loss_value == pytest.approx(expected.item(), abs=1e-5)
    after = convert.state_dict(model)
    for name, value in net.state_dict().items():
        # PyTorch stores the unbiased variance, Keras the biased one; both normalize by the biased.
        if not name.endswith(("running_var", "num_batches_tracked")):
            np.testing.assert_allclose(after[name], value.numpy(), rtol=0, atol=5e-5, err_msg=name)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert not np.array_equal(keras.ops.convert_to_numpy(variable), old), variable.path
    if path := os.environ.get("EXCITE_TEST_STEP"):  # compared between backends
        np.savez(path, **after)


def test_fit_lowers_the_loss() -> None:
    keras.utils.set_random_seed(0)
    model = keras_net(stem="cifar", **SE, image_size=8, drop_rate=0.1)
    labels = np.arange(64) % 5
    images = pictures(8, 8, n=64) + labels[:, None, None, None]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=loss)
    losses = model.fit(images, labels, batch_size=16, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]


def test_a_network_in_mixed_precision_gives_float32_logits_near_the_exact_ones() -> None:
    net = torch_net(**SE, placement=EVERYWHERE)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = keras_net(**SE, placement=EVERYWHERE)
    finally:
        keras.config.set_dtype_policy("float32")
    to_keras(net, model)
    images = pictures(33, 33)
    logits = model(images, training=False)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert model.get_layer("conv2_block1_1_conv").compute_dtype == "bfloat16"
    exact = in_torch(net, images)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(logits), exact, atol=0.05 * abs(exact).max())


def test_a_whole_network_is_saved_and_loaded_without_custom_objects(tmp_path: Path) -> None:
    model = keras_net(**SE, placement=EVERYWHERE)
    model.save(tmp_path / "net.keras")
    images = pictures(33, 33)
    again = keras.saving.load_model(tmp_path / "net.keras")
    assert np.array_equal(in_keras(again, images), in_keras(model, images))


@pytest.mark.once
@pytest.mark.parametrize("name", ["densenet121", "densenet161"])
def test_parameters_are_pytorchs_and_keras_counts_the_stored_statistics_too(name: str) -> None:
    model = getattr(excite.keras, name)()
    # count_params() counts every weight; PyTorch's parameters are those that are learned. The rest are the
    # running means and variances of the norms, which PyTorch keeps as buffers.
    learned = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert learned == VARIANTS[name].parameters
    with torch.device("meta"):
        reference = getattr(torch_densenet, name)()
    assert learned == sum(parameter.numel() for parameter in reference.parameters())
    norms = [module for module in reference.modules() if isinstance(module, nn.BatchNorm2d)]
    statistics = sum(2 * module.num_features for module in norms)
    assert model.count_params() == learned + statistics
    if name == "densenet121":
        assert (learned, statistics, model.count_params()) == (7_978_856, 83_648, 8_062_504)
        theirs = keras.applications.DenseNet121(weights=None)
        assert theirs.count_params() == model.count_params()
        assert named_shapes(theirs) == named_shapes(model)


def named_shapes(model: keras.Model) -> list[tuple[str, list[tuple[int, ...]]]]:
    return [
        (layer.name, [tuple(weight.shape) for weight in layer.weights])
        for layer in model.layers
        if layer.weights
    ]


@pytest.mark.once
def test_attention_adds_what_it_adds_in_pytorch() -> None:
    for placement in ("final", EVERYWHERE):
        with torch.device("meta"):
            reference = torch_densenet.DenseNet(**SMALL, **SE, placement=placement)
        model = keras_net(**SE, placement=placement)
        learned = sum(np.prod(weight.shape) for weight in model.trainable_weights)
        assert learned == sum(parameter.numel() for parameter in reference.parameters())


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"placement": "finale", **SE}, "did you mean 'final'"),
        ({"attention": "eca"}, "attention 'eca' is not available in Keras"),
        ({**SE, "attention_options": {"reductoin": 2}}, "did you mean 'reduction'"),
        ({"stem": "imagnet"}, "did you mean 'imagenet'"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"pooling": "avg"}, "pooling needs include_top=False"),
        ({"include_top": False, "pooling": "mean"}, "pooling must be avg, max, or None"),
        (
            {"include_top": False, "classifier_activation": "softmax"},
            "classifier_activation needs include_top=True",
        ),
        ({"compression": 0.0}, "compression must be above 0"),
        ({"data_format": "NCHW"}, "data_format must be one of"),
        ({"block_config": (1, 1, 1), "image_size": 12}, "needs at least 13 pixels"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        keras_net(**options)
    assert caught.value.exit_code == 2


@pytest.mark.once
def test_a_misspelled_option_of_a_named_network_is_refused_with_the_nearest() -> None:
    with pytest.raises(ExciteError, match="did you mean 'growth_rate'"):
        excite.keras.densenet121(growthrate=3)


@pytest.mark.once
def test_options_without_the_top() -> None:
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


@pytest.mark.once
def test_the_smallest_image_is_the_one_that_is_named() -> None:
    model = keras_net(block_config=(1, 1, 1), image_size=13)
    assert in_keras(model, pictures(13, 13)).shape == (2, 5)


@pytest.mark.once
def test_a_summary_names_every_layer() -> None:
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
