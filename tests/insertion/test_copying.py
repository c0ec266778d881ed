"""Deep copies of networks that PyTorch itself cannot copy, and errors for what nobody can copy."""

from __future__ import annotations

import copy
import threading
import warnings

import pytest
import torch
import torchvision
from torch import nn

import excite
from excite.errors import ExciteError
from excite.insertion.copying import deep_copy


def test_a_copy_has_the_same_values_and_no_shared_tensor() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    copied = deep_copy(model)
    for one, two in zip(model.state_dict().values(), copied.state_dict().values(), strict=True):
        assert torch.equal(one, two)
        assert one.data_ptr() != two.data_ptr()


def test_derived_tensors_are_copied_where_python_cannot() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = nn.utils.weight_norm(nn.Linear(3, 2))
    layer(torch.ones(1, 3))
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(layer)
    copied = deep_copy(layer)
    assert torch.equal(copied(torch.ones(1, 3)), layer(torch.ones(1, 3)))


def test_the_error_names_the_module() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].lock = threading.Lock()
    with pytest.raises(ExciteError, match="cannot be copied") as caught:
        deep_copy(model)
    assert caught.value.where == "1"


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_networks_with_derived_weights_are_copied(norm: object) -> None:
    net = torchvision.models.resnet18()
    net.conv1 = norm(net.conv1)  # type: ignore[operator]
    with torch.enable_grad():
        net.train()(torch.randn(2, 3, 64, 64))
    net.eval()
    same = excite.insert(net, "se", identity=True)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(same(images), net(images))
    assert torch.equal(excite.remove(same)(images), net(images))


def test_what_cannot_be_copied_is_named() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU())
    net[1].lock = threading.Lock()
    with pytest.raises(ExciteError, match=r"^1: this model cannot be copied: .*lock"):
        excite.insert(net, "se", where="0")
