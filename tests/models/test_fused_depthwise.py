"""Networks whose depthwise convolutions are trained with excite's gradients."""

from __future__ import annotations

import copy
import io

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import excite
from excite.insertion.insert import insert, remove
from excite.kernels.dispatch import use_kernels
from excite.models.fused_depthwise import FusedDepthwise, is_depthwise

NETWORKS = ["tf_efficientnet_lite0", "mobilenetv3_small_100", "torchvision:mobilenet_v2", "mobilenetv1_100"]


def gradients(model: nn.Module, images: Tensor, *, low_precision: bool) -> list[Tensor]:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
        logits = model(images)
    F.cross_entropy(logits.float(), torch.arange(len(images)) % 3).backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("low_precision", [False, True])
def test_all_gradients_are_those_of_the_plain_network(name: str, low_precision: bool) -> None:
    model = excite.create_model(name, num_classes=3, image_size=64).to(memory_format=torch.channels_last)
    assert any(isinstance(module, FusedDepthwise) for module in model.modules())
    model.eval()  # batch statistics of random networks amplify rounding
    images = torch.randn(4, 3, 64, 64).to(memory_format=torch.channels_last)
    with use_kernels("off"):
        plain = gradients(model, images, low_precision=low_precision)
    with use_kernels("on"):
        fused = gradients(model, images, low_precision=low_precision)
    assert len(plain) == len(list(model.parameters()))
    for ours, theirs in zip(fused, plain, strict=True):
        error = (ours - theirs).norm() / theirs.norm().clamp(min=1e-6)
        assert error < (0.05 if low_precision else 1e-4)


def test_names_classes_and_output_are_those_of_timm() -> None:
    ours = excite.create_model("mobilenetv1_100", num_classes=3)
    theirs = timm.create_model("mobilenetv1_100", num_classes=3)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours.eval()(images), theirs.eval()(images))


def test_copies_and_pickles_keep_it() -> None:
    model = excite.create_model("mobilenetv1_100", num_classes=3)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    images = torch.randn(1, 3, 64, 64)
    for twin in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert sum(isinstance(module, FusedDepthwise) for module in twin.modules()) == 13
        assert torch.equal(twin.eval()(images), model.eval()(images))


def test_attention_goes_beside_it_and_out_again() -> None:
    model = excite.create_model("tf_efficientnet_lite0", num_classes=3)
    gated = insert(model, identity=True)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(gated.eval()(images), model.eval()(images))
    assert repr(remove(gated)) == repr(model)


@pytest.mark.parametrize(
    ("layer", "fits"),
    [
        (nn.Conv2d(8, 8, 3, groups=8), True),
        (nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8, bias=False), True),
        (nn.Conv2d(8, 16, 3, groups=8), False),
        (nn.Conv2d(8, 8, 3, groups=4), False),
        (nn.Conv2d(8, 8, (3, 5), groups=8), False),
        (nn.Conv2d(8, 8, 3, groups=8, dilation=2), False),
        (nn.Conv2d(8, 8, 3, groups=8, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(8, 8, 3, groups=8, padding="same"), False),
        (nn.Conv2d(1, 1, 3), False),
        (nn.Linear(8, 8), False),
    ],
)
def test_which_layers_are_depthwise(layer: nn.Module, fits: bool) -> None:
    assert is_depthwise(layer) == fits
