"""Networks of plug-ins by name, beside those of libraries."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import excite
from excite.errors import ExciteError
from excite.models.catalog import create_model, find_library, list_models

pytestmark = pytest.mark.usefixtures("own_names")


def tiny(num_classes: int, *, width: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)
    )


@pytest.mark.parametrize("name", ["my_tiny", "plugin:my_tiny"])
def test_it_is_built_by_name_with_its_options_and_with_attention(name: str) -> None:
    excite.register("model", "my_tiny")(tiny)
    model = create_model(name, num_classes=5, width=6, image_size=16)
    assert model[-1].weight.shape == (5, 6)
    gated = create_model(name, num_classes=5, attention="se", where=["0"], attention_options={"reduction": 2})
    assert gated(torch.zeros(2, 3, 16, 16)).shape == (2, 5)
    assert [site.path for site in excite.sites(model, where=["0"])] == ["0"]


def test_it_is_listed_and_searched_after_the_libraries() -> None:
    excite.register("model", "my_tiny")(tiny)
    assert list_models("my_*") == ["my_tiny"]
    assert list_models("plugin:*") == ["plugin:my_tiny"]
    assert find_library("my_tiny") == ("plugin", "my_tiny")
    assert find_library("resnet18") == ("timm", "resnet18")
    with pytest.raises(ExciteError, match=r"unknown model 'my_tony' .did you mean 'my_tiny'"):
        create_model("my_tony")


def test_a_name_that_a_library_has_too_is_refused_until_one_is_chosen() -> None:
    excite.register("model", "resnet18")(tiny)
    with pytest.raises(
        ExciteError, match=r"of timm and of the plug-in .*write plugin:resnet18 or timm:resnet18"
    ):
        create_model("resnet18")
    assert isinstance(create_model("plugin:resnet18", num_classes=2), nn.Sequential)
    assert hasattr(create_model("timm:resnet18", num_classes=2), "layer4")


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (tiny, {"wdth": 3}, "plugin:mine: unknown option 'wdth' .did you mean 'width'"),
        (tiny, {"pretrained": True}, "has no pretrained weights .start from a file with --weights"),
        (tiny, {"in_chans": 1}, "takes images with 3 channels"),
        (lambda num_classes: 1 / 0, {}, "could not build the model: ZeroDivisionError"),
        (lambda num_classes: None, {}, "is NoneType, not a torch.nn.Module"),
    ],
)
def test_what_cannot_be_built_is_an_error_with_the_name(
    factory: Any, options: dict[str, Any], message: str
) -> None:
    excite.register("model", "mine")(factory)
    with pytest.raises(ExciteError, match=message):
        create_model("mine", **options)


def test_it_gets_the_parameters_that_it_has() -> None:
    seen: dict[str, Any] = {}

    @excite.register("model", "curious")
    def curious(num_classes: int, in_chans: int, image_size: int, pretrained: bool, **rest: Any) -> nn.Module:
        seen.update(rest, in_chans=in_chans, image_size=image_size, pretrained=pretrained)
        return tiny(num_classes)

    create_model("curious", num_classes=3, in_chans=1, image_size=64, pretrained=True, depth=7)
    assert seen == {"in_chans": 1, "image_size": 64, "pretrained": True, "depth": 7}
