"""Weights from PyTorch to Keras and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from excite.errors import ExciteError
from excite.keras import to_keras, to_torch
from tests.keras.nets import EVERYWHERE, SE, in_keras, in_torch, keras_net, pictures, torch_net, values

CASES: list[tuple[str, tuple[int, int], dict[str, Any]]] = [
    ("imagenet", (33, 33), {}),
    *[
        ("imagenet", (33, 33), {**SE, "placement": place})
        for place in ("final", "layer", "block", "transition")
    ],
    *[("imagenet", sides, {**SE, "placement": EVERYWHERE}) for sides in ((32, 32), (45, 38))],
    *[("cifar", (side, side), {**SE, "placement": EVERYWHERE}) for side in (14, 15)],
]


@pytest.mark.parametrize(("stem", "sides", "options"), CASES, ids=str)
def test_converted_weights_give_the_logits_of_pytorch_and_come_back_bit_by_bit(
    stem: str, sides: tuple[int, int], options: dict[str, Any]
) -> None:
    net = torch_net(stem=stem, **options)
    model = keras_net(stem=stem, **options)
    to_keras(net, model)
    images = pictures(*sides)
    np.testing.assert_allclose(in_keras(model, images), in_torch(net, images), rtol=0, atol=1e-5)

    back = torch_net(1, stem=stem, **options)
    assert not np.allclose(in_torch(back, images), in_torch(net, images))
    to_torch(model, back)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in back.state_dict().items())


def test_channels_first_gives_the_same_logits() -> None:
    net = torch_net(**SE)
    model = keras_net(data_format="channels_first", **SE)
    to_keras(net, model)
    images = pictures(33, 33)
    logits = in_keras(model, images.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(logits, in_torch(net, images), rtol=0, atol=1e-5)


def test_a_norms_epsilon_does_not_change_the_logits() -> None:
    """keras.applications adds 1.001e-5 to each variance, PyTorch 1e-5; 1e-3 makes an error visible."""
    net, images = torch_net(**SE), pictures(33, 33)
    model = keras_net(epsilon=1e-3, **SE)
    to_keras(net, model)
    np.testing.assert_allclose(in_keras(model, images), in_torch(net, images), rtol=0, atol=1e-5)
    back = torch_net(1, **SE)
    to_torch(model, back)
    np.testing.assert_allclose(in_torch(back, images), in_torch(net, images), rtol=0, atol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"the Keras model has no features\.attention2\.fc1\.weight"),
        ({**SE, "placement": "layer"}, r"denselayer1\.attention\.fc1\.weight is missing from the PyTorch"),
        (
            {**SE, "growth_rate": 5},
            r"conv1\.weight has shape \(16, 8, 1, 1\) in the PyTorch weights, expected \(20, 8, 1, 1\)",
        ),
        ({**SE, "block_config": (2, 2)}, r"denseblock2\.denselayer2\.norm1\.weight is missing"),
        ({**SE, "num_classes": 6}, r"classifier\.weight has shape \(5, 12\) .*, expected \(6, 12\)"),
        ({**SE, "stem": "cifar"}, r"the Keras model has no features\.norm0\.weight"),
        ({**SE, "include_top": False}, r"the Keras model has no classifier\.weight"),
    ],
    ids=str,
)
def test_weights_of_another_network_are_refused_by_name_and_nothing_is_loaded(
    options: dict[str, Any], message: str
) -> None:
    model = keras_net(**options)
    before = values(model)
    with pytest.raises(ExciteError, match=message):
        to_keras(torch_net(**SE), model)
    assert all(np.array_equal(old, new) for old, new in zip(before, values(model), strict=True))


@pytest.mark.once
def test_pytorch_refuses_another_networks_weights_too() -> None:
    net = torch_net(**SE, placement="block")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ExciteError, match=r"features\.attention1\.fc1\.weight is missing from the Keras"):
        to_torch(keras_net(**SE), net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_weights_come_from_a_file_and_from_a_state_dict_with_nothing_missing(tmp_path: Path) -> None:
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
    with pytest.raises(ExciteError, match="weights file does not exist"):
        to_keras(tmp_path / "none.safetensors", model)
    with pytest.raises(ExciteError, match=r"only \.safetensors files are supported"):
        to_keras(tmp_path / "net.pth", model)
