"""The interface of all own networks, with timm's names."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import Tensor, nn

from excite.errors import ExciteError
from excite.models import densenet
from excite.models.catalog import create_model
from excite.models.network import Network, feature, initialize_convolutions
from excite.models.registry import REGISTRY


@pytest.mark.slow
def test_own_models_have_timms_surface() -> None:
    image = torch.empty(2, 3, 64, 64, device="meta")
    for name in ["densenet_bc_40_12", *OTHER_OWN]:
        with torch.device("meta"):
            model = create_model(name, num_classes=5).eval()
        features = model.forward_features(image)
        assert features.shape[:2] == (2, model.num_features), name
        assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features), name
        assert model(image).shape == (2, 5) == (2, model.num_classes), name
        with torch.device("meta"):
            model.reset_classifier(3)
        assert model.get_classifier().out_features == 3 == model(image).shape[1], name
        model.reset_classifier(0)
        assert model(image).shape == (2, model.num_features), name


@pytest.mark.slow
@pytest.mark.parametrize("name", REGISTRY)
def test_own_feature_info_tells_where_the_feature_maps_are(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name).eval()
    size, seen = REGISTRY[name].image_size, list[torch.Size]()
    for info in model.feature_info:
        model.get_submodule(info["module"]).register_forward_hook(
            lambda module, inputs, output: seen.append(output.shape)
        )
    model(torch.empty(1, 3, size, size, device="meta"))
    assert [tuple(shape[1:]) for shape in seen] == [
        (info["num_chs"], *2 * [math.ceil(size / info["reduction"])]) for info in model.feature_info
    ]


OTHER_OWN = [name for name, row in REGISTRY.items() if not row.dense]


class Tiny(Network):
    """The smallest network: one convolution."""

    head_name = "top"

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.feature_info = [feature("conv", 6, 1)]
        self._add_head(6, num_classes)
        initialize_convolutions(self)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.conv(x).relu()


def test_the_surface_agrees_with_timms() -> None:
    theirs, ours = timm.create_model("densenet121").eval(), densenet.densenet121().eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        features = ours.forward_features(images)
        torch.testing.assert_close(features, theirs.forward_features(images))
        for pre_logits in (False, True):
            torch.testing.assert_close(
                ours.forward_head(features, pre_logits=pre_logits),
                theirs.forward_head(features, pre_logits=pre_logits),
            )
    assert ours.num_features == theirs.num_features


def test_reset_classifier_keeps_dtype_and_zero_leaves_it_out() -> None:
    model = Tiny(4).double()
    model.reset_classifier(7)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert model(images).shape == (2, 7)
    assert model.num_classes == model.get_classifier().out_features == 7
    model.reset_classifier(0)
    assert isinstance(model.get_classifier(), nn.Identity)
    assert torch.equal(model(images), model.forward_head(model.forward_features(images), pre_logits=True))
    assert Tiny(0)(images.float()).shape == (2, model.num_features)


def test_feature_info_is_timms() -> None:
    with torch.device("meta"):
        assert densenet.densenet121().feature_info == timm.create_model("densenet121").feature_info


def test_logits_are_the_classifier_of_the_mean_over_positions() -> None:
    torch.manual_seed(0)
    model, images = Tiny(4).eval(), torch.randn(2, 3, 9, 7)
    features = model.forward_features(images)
    expected = features.mean((2, 3)) @ model.top.weight.T + model.top.bias
    torch.testing.assert_close(model(images), expected)
    assert model.get_classifier() is model.top
    assert not model.top.bias.any()


def test_convolutions_keep_the_variance_of_gradients_as_he_et_al_state() -> None:
    """Standard deviation sqrt(2 / (k^2 out_channels)), arXiv 1502.01852, section 2.2, backward case."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(16, 64, 3), nn.Conv2d(64, 512, 1))
    initialize_convolutions(layers)
    for layer in layers:
        size = layer.kernel_size[0] ** 2 * layer.out_channels
        assert float(layer.weight.detach().std()) == pytest.approx((2 / size) ** 0.5, rel=0.05)


def test_wrong_numbers_of_classes_are_refused_by_the_networks_name() -> None:
    with pytest.raises(ExciteError, match="Tiny: num_classes must be at least 0, got -1"):
        Tiny(-1)
    model = Tiny(2)
    with pytest.raises(ExciteError, match="Tiny: num_classes must be at least 0, got -3"):
        model.reset_classifier(-3)
    assert (model.num_classes, model(torch.zeros(1, 3, 5, 5)).shape[1]) == (2, 2)
