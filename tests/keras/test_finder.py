"""Sites in functional models, by block, layer, class, and function."""

from __future__ import annotations

import keras
import pytest

from excite.errors import ExciteError
from excite.keras import insert, sites


@pytest.mark.once
def test_where_names_blocks_layers_classes_and_functions(resnet: keras.Model) -> None:
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


@pytest.mark.once
def test_a_subclassed_model_is_refused() -> None:
    class Coded(keras.Model):
        def call(self, x: object) -> object:
            return x

    with pytest.raises(ExciteError, match="Coded is not a functional model"):
        insert(Coded(), "se")
