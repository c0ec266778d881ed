from __future__ import annotations

import keras
import numpy as np
import pytest

from excite.errors import ExciteError
from excite.keras import SqueezeExcitation, convert, insert, sites, to_keras

from .nets import SE, in_keras, in_torch, keras_net, pictures, torch_net, values


def residual(x: object, width: int, name: str) -> object:
    """A block with the names that keras.applications gives a ResNet's."""
    y = x
    for number in (1, 2, 3):
        y = keras.layers.Conv2D(width, 3, padding="same", name=f"{name}_{number}_conv")(y)
        y = keras.layers.BatchNormalization(name=f"{name}_{number}_bn")(y)
    y = keras.layers.Add(name=f"{name}_add")([x, y])
    return keras.layers.Activation("relu", name=f"{name}_out")(y)


@pytest.fixture(scope="module")
def resnet() -> keras.Model:
    images = keras.Input((9, 9, 8), name="images")
    x = residual(residual(images, 8, "conv2_block1"), 8, "conv2_block2")
    return keras.Model(images, keras.layers.GlobalAveragePooling2D(name="avg_pool")(x), name="little")


MAPS = np.random.default_rng(0).normal(size=(2, 9, 9, 8)).astype(np.float32)


@pytest.mark.parametrize("strategy", ["standard", "pre", "post", "identity", "inner"])
def test_an_identity_start_keeps_outputs_names_and_weights(resnet, placement):
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


def test_an_inserted_network_is_saved_and_loaded(resnet, tmp_path):
    gated = insert(resnet, "se", reduction=2, squeeze="max")
    gated.save(tmp_path / "x.keras")
    assert np.array_equal(
        in_keras(keras.saving.load_model(tmp_path / "x.keras"), MAPS), in_keras(gated, MAPS)
    )


def test_attention_in_a_densenets_layers_is_the_placement_of_that_name():
    net = torch_net(**SE, placement="layer")
    plain = keras_net()
    gated = insert(plain, "se", reduction=2)
    to_keras(net, gated)
    images = pictures(33, 33)
    np.testing.assert_allclose(in_keras(gated, images), in_torch(net, images), rtol=0, atol=1e-5)
    assert convert.state_dict(gated).keys() == convert.state_dict(keras_net(**SE, placement="layer")).keys()


def test_where_names_blocks_layers_classes_and_functions(resnet):
    def paths(where: object) -> list[str]:
        return [site.path for site in sites(resnet, where=where)]

    assert paths("conv2_block2") == ["conv2_block2_3_bn"]
    assert paths("conv2_*") == ["conv2_block1_3_bn", "conv2_block2_3_bn"]
    assert paths(["conv2_block2_1_conv", "conv2_block1"]) == ["conv2_block1_3_bn", "conv2_block2_1_conv"]
    assert paths(keras.layers.Add) == ["conv2_block1_add", "conv2_block2_add"]
    assert paths(lambda layer: layer.name.endswith("2_out")) == ["conv2_block2_out"]
    assert [layer.name for layer in insert(resnet, "se", where="*_out", reduction=2).layers][-3:] == [
        "conv2_block2_out",
        "conv2_block2_out_se",
        "avg_pool",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "eca"}, "attention 'eca' is not there for Keras"),
        ({"strategy": "standrad"}, "did you mean 'standard'"),
        ({"reductoin": 2}, "did you mean 'reduction'"),
        ({"where": "conv2_blok1"}, "did you mean 'conv2_block1"),
        ({"where": 3}, "where does not accept int"),
        ({"where": "avg_pool"}, "no map with a known number of channels"),
        ({"where": "*_add", "strategy": "inner"}, "needs a block that is known"),
        ({}, "reduction 16 is larger than the 8 channels here"),
    ],
    ids=str,
)
def test_mistakes_get_one_clear_line(resnet, options, message):
    with pytest.raises(ExciteError, match=message) as caught:
        insert(resnet, **{"attention": "se", **options})
    assert caught.value.exit_code == 2


def test_attention_is_not_put_where_it_is(resnet):
    gated = insert(resnet, "se", where="conv2_block2", reduction=2)
    assert [site.has_attention for site in sites(gated)] == [False, True]
    with pytest.raises(ExciteError, match="1 of 2 sites have attention already"):
        insert(gated, "se", reduction=2)
    assert len(insert(gated, "se", where="conv2_block1", reduction=2).layers) == len(resnet.layers) + 2


def test_a_model_that_is_code_is_refused():
    class Coded(keras.Model):
        def call(self, x: object) -> object:
            return x

    with pytest.raises(ExciteError, match="Coded is no functional model"):
        insert(Coded(), "se")


def test_a_sequential_model_takes_attention_at_named_layers():
    layers = [keras.Input((5, 5, 3)), keras.layers.Conv2D(4, 3, name="first"), keras.layers.Flatten()]
    model = keras.Sequential(layers)
    images = pictures(5, 5)
    gated = insert(model, "se", where="first", reduction=2, identity=True)
    assert np.array_equal(in_keras(gated, images), in_keras(model, images))
    with pytest.raises(ExciteError, match=r"no block of .* is known here"):
        insert(model, "se")


@keras.saving.register_keras_serializable()
class Scaled(keras.layers.Layer):
    """A custom layer with a layer of its own; its automatic configuration has no name."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor, self.conv = factor, keras.layers.Conv2D(8, 3, padding="same")

    def call(self, x):
        return self.conv(x) * self.factor


def after_custom_layers(order):
    """A network with two custom layers; after it is built, generated names begin at the first one again."""
    keras.backend.clear_session()
    layers = [Scaled(1.0), Scaled(2.0)]
    images = keras.Input((9, 9, 8))
    x = layers[order[1]](keras.layers.ReLU()(layers[order[0]](images)))
    x = keras.layers.Conv2D(8, 3, name="c")(keras.layers.Lambda(lambda t: t * 2)(x))
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))
    keras.backend.clear_session()
    return model


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_custom_layers_keep_their_own_weights_and_names(order):
    model = after_custom_layers(order)
    gated = insert(model, "se", where="c", reduction=2, identity=True)
    np.testing.assert_array_equal(in_keras(gated, MAPS), in_keras(model, MAPS))
    names = [layer.name for layer in gated.layers if not isinstance(layer, SqueezeExcitation)]
    assert names == [layer.name for layer in model.layers]


def test_a_layer_without_a_configuration_is_refused():
    class Opaque(keras.layers.Layer):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def call(self, x):
            return self.function(x)

    images = keras.Input((9, 9, 8))
    x = keras.layers.Conv2D(8, 3, name="c")(Opaque(lambda t: t)(images))
    with pytest.raises(ExciteError, match="get_config"):
        insert(keras.Model(images, x), "se", where="c", reduction=2)
