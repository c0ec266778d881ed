"""EfficientNet-Lite against timm's, and padding against timm's."""

from __future__ import annotations

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.padding import pad_same as timms_pad_same
from torch import nn

import excite
from excite.errors import ExciteError
from excite.models.same_padding import pad_same
from excite.models.weights import fit_channels


@pytest.mark.parametrize("number", [0, 1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_names_logits_and_stages_are_those_of_timm(number: int) -> None:
    name = f"tf_efficientnet_lite{number}"
    ours = excite.create_model(f"excite:{name}", num_classes=7).eval()
    theirs = timm.create_model(name, num_classes=7).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    with torch.no_grad():
        for module in theirs.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
    ours.load_state_dict(theirs.state_dict())
    for side in (64, 75):
        images = torch.randn(2, 3, side, side + 6)
        assert torch.equal(ours(images), theirs(images))
    taps = [tuple(each[key] for key in ("module", "num_chs", "reduction")) for each in ours.feature_info]
    assert taps == [
        tuple(each[key] for key in ("module", "num_chs", "reduction")) for each in theirs.feature_info
    ]


def test_attention_goes_where_efficientnet_has_its_se() -> None:
    ours = excite.sites(excite.create_model("tf_efficientnet_lite0"))
    theirs = excite.sites(excite.create_model("timm:tf_efficientnet_lite0"))
    assert [(site.path, site.channels, site.stage) for site in ours] == [
        (site.path, site.channels, site.stage) for site in theirs
    ]
    native = [
        name for name, _ in timm.create_model("tf_efficientnet_b0").named_modules() if name.endswith(".se")
    ]
    assert [site.path for site in ours] == native


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 2, 3]))
@settings(max_examples=60, deadline=None)
def test_padding_is_timms(height: int, width: int, kernel: int, stride: int) -> None:
    images = torch.ones(1, 1, height, width)
    expected = timms_pad_same(images, [kernel, kernel], [stride, stride])
    assert torch.equal(pad_same(images, (kernel, kernel), (stride, stride)), expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_weights_are_fitted_to_other_channels_as_by_timm(channels: int) -> None:
    weight = torch.randn(4, 3, 3, 3)
    expected = timm.models.adapt_input_conv(channels, weight.clone())
    torch.testing.assert_close(fit_channels(weight, channels), expected)


def test_dropout_is_before_the_classifier_and_in_training_only() -> None:
    model = excite.create_model("tf_efficientnet_lite0", num_classes=2, drop_rate=0.9)
    features = torch.ones(3, 1280, 2, 2)
    pooled = model.forward_head(features, pre_logits=True)
    assert torch.equal(pooled, torch.ones(3, 1280))
    torch.manual_seed(0)
    assert not torch.equal(model.forward_head(features)[0], model.forward_head(features)[1])
    model.eval()
    assert torch.equal(model.forward_head(features)[0], model.forward_head(features)[1])


@pytest.mark.parametrize(
    "options", [{"width": 0}, {"depth": -1}, {"in_chans": 0}, {"drop_rate": 1.0}, {"swish": True}]
)
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ExciteError):
        excite.create_model("tf_efficientnet_lite0", **options)  # type: ignore[arg-type]
