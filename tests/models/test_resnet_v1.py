from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from excite.errors import ExciteError
from excite.models.resnet_v1 import resnet50_v1, resnet101_v1, resnet152_v1


def shaken(model: nn.Module) -> nn.Module:
    """With every tensor random, norms included: fresh branches end in a norm that is zero."""
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if "norm" in name or "bn" in name or "downsample.1" in name or name.endswith("bias"):
            tensor.copy_(torch.rand_like(tensor.float()) + 0.5)
    return model.eval()


def test_logits_equal_torchvisions_with_the_stride_moved_by_hand() -> None:
    theirs = shaken(torchvision.models.resnet50())
    for stage in (theirs.layer2, theirs.layer3, theirs.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    ours = resnet50_v1().eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_logits_equal_caffes_form_as_timm_keeps_it_without_its_se() -> None:
    theirs = timm.create_model("legacy_seresnet50")
    for block in theirs.modules():
        if hasattr(block, "se_module"):
            block.se_module = nn.Identity()
    theirs.pool0 = nn.MaxPool2d(3, 2, padding=1)  # Caffe pads below and to the right only
    shaken(theirs)
    names = {"layer0.": "", "last_linear": "fc"}
    weights = theirs.state_dict()
    for old, new in names.items():
        weights = {name.replace(old, new): tensor for name, tensor in weights.items()}
    ours = resnet50_v1().eval()
    ours.load_state_dict(weights)
    images = torch.randn(1, 3, 75, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(("build", "units"), [(resnet50_v1, 16), (resnet101_v1, 33), (resnet152_v1, 50)])
def test_only_a_stages_first_1x1_strides(build: Callable[..., Any], units: int) -> None:
    with torch.device("meta"):
        model = build(num_classes=2)
    strides = {
        name: module.stride[0]
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and name.startswith("layer") and "downsample" not in name
    }
    assert len(strides) == 3 * units
    strided = [f"layer{stage}.0.conv1" for stage in (2, 3, 4)]
    assert [name for name, stride in strides.items() if stride == 2] == strided


@pytest.mark.slow
def test_timms_own_network_keeps_its_stride() -> None:
    resnet50_v1()
    assert timm.create_model("resnet50").layer2[0].conv2.stride == (2, 2)
    copied = copy.deepcopy(resnet50_v1())
    assert copied.layer2[0].conv1.stride == (2, 2)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"drop_rte": 0.1}, "resnet50_v1: unknown option 'drop_rte' .did you mean 'drop_rate'"),
        ({"aa_layer": "blurpool"}, "resnet50_v1: unknown option 'aa_layer'"),
        ({"layers": (1, 1, 1, 1)}, "resnet50_v1: unknown option 'layers'"),
        ({"output_stride": 7}, "resnet50_v1: could not build the model"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ExciteError, match=match) as caught:
        resnet50_v1(**options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
