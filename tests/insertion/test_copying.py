"""Deep copies of networks that PyTorch itself cannot copy, and errors for what nobody can copy."""

from __future__ import annotations

import copy
import threading
import warnings

import pytest
import torch
from torch import nn

from excite.errors import ExciteError
from excite.insertion.copying import deep_copy


def test_a_copy_has_the_same_values_and_no_shared_tensor() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    twin = deep_copy(model)
    for one, two in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(one, two)
        assert one.data_ptr() != two.data_ptr()


def test_derived_tensors_are_copied_where_python_cannot() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = nn.utils.weight_norm(nn.Linear(3, 2))
    layer(torch.ones(1, 3))
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(layer)
    twin = deep_copy(layer)
    assert torch.equal(twin(torch.ones(1, 3)), layer(torch.ones(1, 3)))


def test_the_error_names_the_module() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].lock = threading.Lock()
    with pytest.raises(ExciteError, match="cannot be copied") as caught:
        deep_copy(model)
    assert caught.value.where == "1"
