"""The last layer of a classifier, found in networks of any library and replaced."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from excite.errors import ExciteError
from excite.models.catalog import create_model
from excite.models.head import head_path, linear_head, replace_head


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "squeezenet1_0",
        "vgg11",
        "vit_b_32",
        "swin_t",
        "mobilenet_v3_small",
        "mnasnet0_5",
    ],
)
def test_replace_head_finds_the_last_layer(name: str) -> None:
    with torch.device("meta"):
        model = torchvision.models.get_model(name).eval()
        before = list(model.state_dict())
        replace_head(model, 3)
        assert model(torch.empty(1, 3, 224, 224)).shape == (1, 3)
        assert list(model.state_dict()) == before


def test_replace_head_keeps_a_head_that_fits() -> None:
    with torch.device("meta"):
        model = torchvision.models.resnet18()
        head = model.fc
        replace_head(model, 1000)
    assert model.fc is head


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("torchvision:resnet18", "fc"),
        ("torchvision:squeezenet1_0", "classifier.1"),
        ("torchvision:mobilenet_v3_small", "classifier.3"),
        ("timm:vit_tiny_patch16_224", "head"),
        ("timm:convnext_atto", "head.fc"),
        ("densenet121", "classifier"),
        ("cifar_resnet20", "linear"),
    ],
)
def test_the_path_is_that_of_the_librarys_own_classifier(name: str, path: str) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=3)
    assert head_path(model) == path
    assert model.get_submodule(path).weight.shape[0] == 3


def test_a_new_head_is_fresh_and_all_else_stays() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 5))
    body, head = model[0].weight.clone(), model[2].weight.clone()
    replace_head(model, 2)
    assert model[2].weight.shape == (2, 16)
    assert not torch.equal(model[2].weight, head[:2])
    assert torch.equal(model[0].weight, body)


@pytest.mark.parametrize(
    "last", [nn.Conv2d(4, 2, 1), nn.Linear(4, 2, bias=False)], ids=["convolution", "no bias"]
)
def test_a_probe_needs_a_linear_layer_with_a_bias(last: nn.Module) -> None:
    with pytest.raises(ExciteError, match=r"Sequential does not end in a linear layer .*--recipe scratch"):
        linear_head(nn.Sequential(nn.Conv2d(3, 4, 3), last))
    head = nn.Linear(4, 2)
    assert linear_head(nn.Sequential(nn.Conv2d(3, 4, 3), head, nn.Softmax())) is head
