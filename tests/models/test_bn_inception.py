from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from excite.errors import ExciteError
from excite.models.bn_inception import MODULES, BNInception, Inception, bn_inception


@pytest.fixture(scope="module")
def model() -> BNInception:
    torch.manual_seed(0)
    return bn_inception(num_classes=10).eval()


def test_parameters_equal_the_released_caffe_networks() -> None:
    """It has 11,295,240, with a bias in each convolution that the norm after it makes idle."""
    with torch.device("meta"):
        model = bn_inception()
    ours = sum(parameter.numel() for parameter in model.parameters())
    idle = sum(module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d))
    assert ours + idle == 11_295_240


def test_ten_modules_of_the_papers_shapes(model: nn.Module) -> None:
    seen = {}
    for name, module in model.named_children():
        if isinstance(module, Inception):
            module.register_forward_hook(lambda m, i, output, name=name: seen.update({name: output.shape}))
    with torch.no_grad():
        model(torch.randn(1, 3, 224, 224))
    # As in figure 5 of the paper, but for 4c to 4e: their branches, there too, sum to 32 channels more.
    channels = [256, 320, 576, 576, 576, 608, 608, 1056, 1024, 1024]
    sizes = [28, 28, 14, 14, 14, 14, 14, 7, 7, 7]
    assert [(shape[1], shape[2]) for shape in seen.values()] == list(zip(channels, sizes, strict=True))


def test_channels_are_concatenated_in_the_papers_order(model: nn.Module) -> None:
    """1x1, 3x3, double 3x3, pool: each branch alone, by its own submodule, at its place in the output."""
    module, widths = model.inception3a, MODULES["3a"]
    x = torch.randn(1, 192, 9, 9)
    branches = [module.branch1x1, module.branch3x3, module.branch_double3x3, module.branch_pool]
    with torch.no_grad():
        parts = module(x).split([widths.single, widths.three[1], widths.double[1], widths.projection], 1)
        for part, branch in zip(parts, branches, strict=True):
            torch.testing.assert_close(part, branch(x))


def test_a_module_that_halves_passes_the_maxima_through(model: nn.Module) -> None:
    x = torch.randn(1, 320, 6, 6)
    with torch.no_grad():
        passed = model.inception3c(x)[:, -320:]
    corners = torch.stack([x[:, :, max(0, i - 1) : i + 2, 0:2].amax((2, 3)) for i in (0, 2, 4)], 2)
    torch.testing.assert_close(passed[:, :, :, 0], corners)


@pytest.mark.parametrize("size", [32, 75, 225])
def test_any_image_size_fits(size: int) -> None:
    with torch.device("meta"):
        assert bn_inception(in_chans=1)(torch.empty(2, 1, size, size)).shape == (2, 1000)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_class": 3}, "bn_inception: unknown option 'num_class' .did you mean 'num_classes'"),
        ({"num_classes": -1}, "BNInception: num_classes must be at least 0, got -1"),
        ({"in_chans": 0}, "BNInception: in_chans must be at least 1, got 0"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ExciteError, match=match) as caught:
        bn_inception(**options)
    assert caught.value.exit_code == 2
