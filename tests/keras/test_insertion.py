"""Attention in functional models: outputs, names, and weights stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import excite
from excite.errors import ExciteError
from excite.keras import SqueezeExcitation, convert, insert, remove, sites, to_keras
from tests.keras.nets import MAPS, SE, in_keras, in_torch, keras_net, pictures, torch_net, values


@pytest.mark.parametrize("placement", ["standard", "pre", "post", "identity", "inner"])
def test_an_identity_start_keeps_outputs_names_and_weights(resnet: keras.Model, placement: str) -> None:
    before = values(resnet)
    gated = insert(resnet, "se", placement=placement, reduction=2, identity=True)
    assert np.array_equal(in_keras(gated, MAPS), in_keras(resnet, MAPS))
    assert [layer.name for layer in resnet.layers] == [
        layer.name for layer in gated.layers if not isinstance(layer, SqueezeExcitation)
    ]
    assert len(gated.layers) == len(resnet.layers) + 2
    for layer in resnet.layers:
        for old, new in zip(values(layer), values(gated.get_layer(layer.name)), strict=True):
            assert np.array_equal(old, new)
    assert all(np.array_equal(old, new) for old, new in zip(before, values(resnet), strict=True))
    random = insert(resnet, "se", placement=placement, reduction=2)
    assert not np.allclose(in_keras(random, MAPS), in_keras(resnet, MAPS))


def test_an_inserted_network_is_saved_and_loaded(resnet: keras.Model, tmp_path: Path) -> None:
    gated = insert(resnet, "se", reduction=2, squeeze="max")
    gated.save(tmp_path / "x.keras")
    assert np.array_equal(
        in_keras(keras.saving.load_model(tmp_path / "x.keras"), MAPS), in_keras(gated, MAPS)
    )


def test_attention_in_a_densenets_layers_is_the_placement_of_that_name() -> None:
    net = torch_net(**SE, placement="layer")
    plain = keras_net()
    gated = insert(plain, "se", reduction=2)
    to_keras(net, gated)
    images = pictures(33, 33)
    np.testing.assert_allclose(in_keras(gated, images), in_torch(net, images), rtol=0, atol=1e-5)
    assert convert.state_dict(gated).keys() == convert.state_dict(keras_net(**SE, placement="layer")).keys()


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "eca"}, "attention 'eca' is not available in Keras"),
        ({"placement": "standrad"}, "did you mean 'standard'"),
        ({"reductoin": 2}, "did you mean 'reduction'"),
        ({"where": "conv2_blok1"}, "did you mean 'conv2_block1"),
        ({"where": 3}, "where does not accept int"),
        ({"where": "avg_pool"}, "needs a feature map with a known number"),
        ({"where": "*_add", "placement": "inner"}, "needs a known block"),
        ({}, "reduction 16 is larger than the number of channels, 8"),
    ],
    ids=str,
)
def test_mistakes_get_one_clear_line(resnet: keras.Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        insert(resnet, **{"attention": "se", **options})
    assert caught.value.exit_code == 2


@pytest.mark.once
def test_a_site_takes_attention_once(resnet: keras.Model) -> None:
    gated = insert(resnet, "se", where="conv2_block2", reduction=2)
    assert [site.has_attention for site in sites(gated)] == [False, True]
    with pytest.raises(ExciteError, match="1 of 2 sites already have attention"):
        insert(gated, "se", reduction=2)
    assert len(insert(gated, "se", where="conv2_block1", reduction=2).layers) == len(resnet.layers) + 2


def test_a_sequential_model_takes_attention_at_named_layers() -> None:
    layers = [keras.Input((5, 5, 3)), keras.layers.Conv2D(4, 3, name="first"), keras.layers.Flatten()]
    model = keras.Sequential(layers)
    images = pictures(5, 5)
    gated = insert(model, "se", where="first", reduction=2, identity=True)
    assert np.array_equal(in_keras(gated, images), in_keras(model, images))
    with pytest.raises(ExciteError, match="contains no known block"):
        insert(model, "se")


@pytest.mark.parametrize("placement", ["standard", "pre", "post", "identity", "inner"])
def test_removing_what_was_inserted_gives_the_model_back(
    resnet: keras.Model, placement: str, tmp_path: Path
) -> None:
    gated = insert(resnet, "se", placement=placement, reduction=2)
    before = values(gated)
    gated.save(tmp_path / "x.keras")
    for model in (gated, keras.saving.load_model(tmp_path / "x.keras")):
        plain = remove(model)
        assert [layer.name for layer in plain.layers] == [layer.name for layer in resnet.layers]
        assert np.array_equal(in_keras(plain, MAPS), in_keras(resnet, MAPS))
    assert all(np.array_equal(old, new) for old, new in zip(before, values(gated), strict=True))


@pytest.mark.once
def test_a_model_without_attention_has_none_to_remove(resnet: keras.Model) -> None:
    with pytest.raises(ExciteError, match="this model has no inserted attention"):
        remove(resnet)


@pytest.mark.once
def test_stages_are_those_of_the_same_network_in_pytorch() -> None:
    net = keras.applications.ResNet50(weights=None)
    stages = [site.stage for site in sites(net)]
    assert stages == [2] * 3 + [3] * 4 + [4] * 6 + [5] * 3  # conv2 to conv5, table 1 of He et al. 2016
    assert stages == [site.stage for site in excite.sites(excite.create_model("resnet50"))]
    gated = insert(net, "se", stages=[4, 5], identity=True)
    assert len(gated.layers) - len(net.layers) == 6 + 3
    with pytest.raises(ExciteError, match=r"no site on stage 7 \(the stages are 2, 3, 4, 5\)"):
        sites(net, stages=7)


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "twin"), [("MobileNetV2", "torchvision:mobilenet_v2"), ("VGG16", "torchvision:vgg16")]
)
def test_stages_by_shape_are_those_of_pytorch(name: str, twin: str) -> None:
    found = [site.stage for site in sites(getattr(keras.applications, name)(weights=None))]
    expected = [site.stage for site in excite.sites(excite.create_model(twin))]
    assert set(found) == set(expected)
    assert found == sorted(found, key=str)
