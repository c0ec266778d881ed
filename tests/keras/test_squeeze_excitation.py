"""The Keras layer against the PyTorch module."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

import excite
from excite.errors import ExciteError
from excite.keras import SqueezeExcitation, to_keras, to_torch
from tests.keras.nets import in_keras, values

OPTIONS: list[dict[str, Any]] = [
    {},
    {"reduction": 100},
    {"divisor": 8, "squeeze": "max"},
    {"gate": "tanh", "bias": False},
    {"gate": "relu", "identity": True},
    {"gate": "tanh", "identity": True},
    {"identity": True},
]


def built(channels: int = 24, **options: Any) -> SqueezeExcitation:
    layer = SqueezeExcitation(**options)
    layer.build((None, None, None, channels) if layer.channel_axis == 3 else (None, channels, None, None))
    return layer


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_it_equals_the_pytorch_block(options: dict[str, Any], data_format: str) -> None:
    block = excite.SqueezeExcitation(24, **options)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    layer = built(data_format=data_format, **options)
    to_keras(block, layer)
    maps = np.random.default_rng(0).normal(size=(3, 24, 5, 4)).astype(np.float32)
    inputs = maps if data_format == "channels_first" else maps.transpose(0, 2, 3, 1)
    outputs = in_keras(layer, inputs)
    outputs = outputs if data_format == "channels_first" else outputs.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(outputs, block(torch.from_numpy(maps)).detach().numpy(), atol=1e-6)
    assert sum(value.size for value in values(layer)) == sum(p.numel() for p in block.parameters())

    back = excite.SqueezeExcitation(24, **options)
    to_torch(layer, back)
    assert all(torch.equal(value, block.state_dict()[name]) for name, value in back.state_dict().items())


def test_it_starts_as_the_pytorch_block_does() -> None:
    plain, identity = built(512), built(512, identity=True)
    kernel = keras.ops.convert_to_numpy(plain.fc1_kernel)
    assert abs(kernel).max() == pytest.approx(512**-0.5, rel=0.02)
    assert not keras.ops.convert_to_numpy(plain.fc1_bias).any()
    maps = np.random.default_rng(0).normal(size=(2, 3, 3, 512)).astype(np.float32)
    assert np.array_equal(in_keras(identity, maps), maps)
    assert not np.allclose(in_keras(plain, maps), maps)


@pytest.mark.parametrize("half", ["mixed_float16", "mixed_bfloat16"])
def test_in_mixed_precision_the_squeeze_is_in_float32(half: str) -> None:
    layer, exact = built(dtype=half), built()
    for variable, value in zip(layer.weights, exact.weights, strict=True):
        variable.assign(value)
        assert variable.dtype == "float32"
    # Its sum, 1,024 times 1,000, is far above float16's 65,504.
    maps = np.full((2, 32, 32, 24), 1000, np.float32)
    outputs = layer(maps)
    assert keras.backend.standardize_dtype(outputs.dtype) == half.removeprefix("mixed_")
    gates = keras.ops.convert_to_numpy(layer.gates(keras.ops.cast(maps, half.removeprefix("mixed_"))))
    assert gates.dtype == np.float32
    np.testing.assert_allclose(gates, keras.ops.convert_to_numpy(exact.gates(maps)), rtol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_its_config_builds_the_same_layer(options: dict[str, Any]) -> None:
    layer = SqueezeExcitation(name="gate", data_format="channels_first", **options)
    again = SqueezeExcitation.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert {**again.get_config(), **options} == layer.get_config()


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": 0}, "reduction must be at least 1"),
        ({"divisor": 0}, "divisor must be at least 1"),
        ({"squeeze": "avgg"}, "did you mean 'avg'"),
        ({"gate": "sigmoide"}, "did you mean 'sigmoid'"),
        ({"data_format": "channels_lst"}, "did you mean 'channels_last'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExciteError, match=message):
        SqueezeExcitation(**options)


@pytest.mark.once
def test_an_input_that_is_not_a_feature_map_is_refused() -> None:
    with pytest.raises(ExciteError, match="expected a feature map"):
        SqueezeExcitation()(np.zeros((2, 8), np.float32))
    with pytest.raises(ExciteError, match="number of channels must be known"):
        SqueezeExcitation()(keras.Input((4, 4, None)))
    with pytest.raises(ExciteError, match="is not built"):
        to_keras(excite.SqueezeExcitation(8), SqueezeExcitation())
