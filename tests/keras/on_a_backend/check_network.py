from __future__ import annotations

import os

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from excite.errors import ExciteError
from excite.keras import convert, to_keras, to_torch

from .nets import EVERYWHERE, SE, in_keras, in_torch, keras_net, pictures, torch_net, values

CASES = [
    ("imagenet", (33, 33), {}),
    *[
        ("imagenet", (33, 33), {**SE, "placement": place})
        for place in ("final", "layer", "block", "transition")
    ],
    *[("imagenet", sides, {**SE, "placement": EVERYWHERE}) for sides in ((32, 32), (45, 38))],
    *[("cifar", (side, side), {**SE, "placement": EVERYWHERE}) for side in (14, 15)],
]


@pytest.mark.parametrize(("stem", "sides", "options"), CASES, ids=str)
def test_converted_weights_give_the_logits_of_pytorch_and_come_back_bit_by_bit(stem, sides, options):
    net = torch_net(stem=stem, **options)
    model = keras_net(stem=stem, **options)
    to_keras(net, model)
    images = pictures(*sides)
    np.testing.assert_allclose(in_keras(model, images), in_torch(net, images), rtol=0, atol=1e-5)

    back = torch_net(1, stem=stem, **options)
    assert not np.allclose(in_torch(back, images), in_torch(net, images))
    to_torch(model, back)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in back.state_dict().items())


def test_channels_first_gives_the_same_logits():
    net = torch_net(**SE)
    model = keras_net(data_format="channels_first", **SE)
    to_keras(net, model)
    images = pictures(33, 33)
    said = in_keras(model, images.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(said, in_torch(net, images), rtol=0, atol=1e-5)


def test_a_norms_epsilon_does_not_change_the_logits():
    """keras.applications adds 1.001e-5 to each variance, PyTorch 1e-5; with 1e-3 it would show."""
    net, images = torch_net(**SE), pictures(33, 33)
    model = keras_net(epsilon=1e-3, **SE)
    to_keras(net, model)
    np.testing.assert_allclose(in_keras(model, images), in_torch(net, images), rtol=0, atol=1e-5)
    back = torch_net(1, **SE)
    to_torch(model, back)
    np.testing.assert_allclose(in_torch(back, images), in_torch(net, images), rtol=0, atol=1e-5)


def test_one_step_is_pytorchs_and_reaches_every_variable():
    net = torch_net(**SE, placement=EVERYWHERE)
    model = keras_net(**SE, placement=EVERYWHERE)
    to_keras(net, model)
    before = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    images, labels = pictures(33, 33, n=8), np.arange(8) % 5
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss=loss)
    said = float(np.asarray(model.train_on_batch(images, labels)))

    net.train()
    wanted = torch.nn.functional.cross_entropy(
        net(torch.from_numpy(images).permute(0, 3, 1, 2)), torch.from_numpy(labels)
    )
    wanted.backward()
    with torch.no_grad():  # by hand: torch.optim imports triton, which crashes after TensorFlow
        for parameter in net.parameters():
            parameter.sub_(0.05 * parameter.grad)
    assert said == pytest.approx(wanted.item(), abs=1e-5)
    after = convert.state_dict(model)
    for name, value in net.state_dict().items():
        # PyTorch stores the unbiased variance, Keras the biased one; both normalize by the biased.
        if not name.endswith(("running_var", "num_batches_tracked")):
            np.testing.assert_allclose(after[name], value.numpy(), rtol=0, atol=5e-5, err_msg=name)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert not np.array_equal(keras.ops.convert_to_numpy(variable), old), variable.path
    np.savez(os.environ["EXCITE_STEP"], **after)


def test_fit_lowers_the_loss():
    keras.utils.set_random_seed(0)
    model = keras_net(stem="cifar", **SE, image_size=8, drop_rate=0.1)
    labels = np.arange(64) % 5
    images = pictures(8, 8, n=64) + labels[:, None, None, None]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=loss)
    losses = model.fit(images, labels, batch_size=16, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]


def test_a_network_in_mixed_precision_gives_float32_logits_near_the_exact_ones():
    net = torch_net(**SE, placement=EVERYWHERE)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = keras_net(**SE, placement=EVERYWHERE)
    finally:
        keras.config.set_dtype_policy("float32")
    to_keras(net, model)
    images = pictures(33, 33)
    said = model(images, training=False)
    assert keras.backend.standardize_dtype(said.dtype) == "float32"
    assert model.get_layer("conv2_block1_1_conv").compute_dtype == "bfloat16"
    wanted = in_torch(net, images)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(said), wanted, atol=0.05 * abs(wanted).max())


def test_a_whole_network_is_saved_and_loaded_without_custom_objects(tmp_path):
    model = keras_net(**SE, placement=EVERYWHERE)
    model.save(tmp_path / "net.keras")
    images = pictures(33, 33)
    again = keras.saving.load_model(tmp_path / "net.keras")
    assert np.array_equal(in_keras(again, images), in_keras(model, images))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, r"the Keras model has no features\.attention2\.fc1\.weight"),
        ({**SE, "placement": "layer"}, r"denselayer1\.attention\.fc1\.weight is missing from PyTorch's"),
        (
            {**SE, "growth_rate": 5},
            r"conv1\.weight is \(16, 8, 1, 1\) in PyTorch's weights, and \(20, 8, 1, 1\)",
        ),
        ({**SE, "block_config": (2, 2)}, r"denseblock2\.denselayer2\.norm1\.weight is missing"),
        ({**SE, "num_classes": 6}, r"classifier\.weight is \(5, 12\) .* and \(6, 12\) is wanted"),
        ({**SE, "stem": "cifar"}, r"the Keras model has no features\.norm0\.weight"),
        ({**SE, "include_top": False}, r"the Keras model has no classifier\.weight"),
    ],
    ids=str,
)
def test_weights_of_another_network_are_refused_by_name_and_nothing_is_loaded(options, named):
    model = keras_net(**options)
    before = values(model)
    with pytest.raises(ExciteError, match=named):
        to_keras(torch_net(**SE), model)
    assert all(np.array_equal(old, new) for old, new in zip(before, values(model), strict=True))


def test_pytorch_refuses_another_networks_weights_too():
    net = torch_net(**SE, placement="block")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ExciteError, match=r"features\.attention1\.fc1\.weight is missing from Keras's"):
        to_torch(keras_net(**SE), net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_weights_come_from_a_file_and_from_a_state_dict_with_nothing_missing(tmp_path):
    net, images = torch_net(**SE), pictures(33, 33)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    for source in (tmp_path / "net.safetensors", str(tmp_path / "net.safetensors"), net.state_dict()):
        model = keras_net(**SE)
        to_keras(source, model)
        np.testing.assert_allclose(in_keras(model, images), in_torch(net, images), rtol=0, atol=1e-5)
    half = {name: value.bfloat16() for name, value in net.state_dict().items() if value.is_floating_point()}
    model, rounded = keras_net(**SE), torch_net(**SE)
    to_keras(half, model)
    rounded.load_state_dict(half, strict=False)
    np.testing.assert_allclose(in_keras(model, images), in_torch(rounded, images), rtol=0, atol=1e-5)
    state = net.state_dict()
    del state["features.transition1.norm.running_mean"]
    with pytest.raises(ExciteError, match=r"features\.transition1\.norm\.running_mean is missing"):
        to_keras(state, model)
    with pytest.raises(ExciteError, match="no such weights file"):
        to_keras(tmp_path / "none.safetensors", model)
    with pytest.raises(ExciteError, match=r"only \.safetensors files are read"):
        to_keras(tmp_path / "net.pth", model)
