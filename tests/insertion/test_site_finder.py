"""Sites of known blocks and of any module: host, channels, and stage, found without a trace."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import nn

from excite.errors import ExciteError
from excite.insertion.insert import insert
from excite.insertion.site_finder import SiteFinder, submodule
from excite.insertion.sites import sites
from tests.insertion.nets import Net, Unit, build


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("timm:resnet50", [2] * 3 + [3] * 4 + [4] * 6 + [5] * 3),
        ("timm:vgg11_bn", [1, 2, 3, 3, 4, 4, 5, 5]),
        ("torchvision:googlenet", [3] * 2 + [4] * 5 + [5] * 2),
        ("timm:mobilenetv1_100", [1, 2, 2, 3, 3] + [4] * 6 + [5] * 2),
        ("torchvision:convnext_tiny", [2] * 3 + [3] * 3 + [4] * 9 + [5] * 3),
        ("timm:convnext_tiny", [2] * 3 + [3] * 3 + [4] * 9 + [5] * 3),
    ],
)
def test_stages_are_levels_of_resolution(name: str, found: list[int]) -> None:
    assert [site.stage for site in sites(build(name))] == found


def test_finding_sites_does_not_change_the_model() -> None:
    model = Net([(4, 1, True), (6, 2, False)])
    calls: list[int] = []
    model.body[0].register_forward_hook(lambda *_: calls.append(1))
    had = copy.deepcopy(model.state_dict())
    sites(model, where="body.*")
    assert calls == []
    assert len(model.body[0]._forward_hooks) == 1
    assert model.training
    assert all(torch.equal(value, had[name]) for name, value in model.state_dict().items())


def test_channels_and_stages_of_modules_without_such_attributes() -> None:
    (pool,) = sites(torchvision.models.resnet18(), where="maxpool")
    assert (pool.channels, pool.stage, pool.kind) == (64, 2, "torch.nn.modules.pooling.MaxPool2d")
    net = Net([(4, 1, True), (6, 2, True), (8, 2, True)])
    assert [(site.channels, site.stage) for site in sites(net, where=Unit)] == [(4, 1), (6, 2), (8, 3)]


def test_the_stage_is_in_the_path_where_a_dilated_network_does_not_shrink() -> None:
    """With dilation in place of strides all of layer2 to layer4 have one resolution."""
    with torch.device("meta"):
        plain = torchvision.models.resnet50()
        dilated = torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True])
    stages = [[site.stage for site in sites(model)] for model in (plain, dilated)]
    assert stages[0] == stages[1] == [2] * 3 + [3] * 4 + [4] * 6 + [5] * 3


@pytest.mark.parametrize(
    ("layer", "before", "after"),
    [
        (nn.Conv2d(4, 6, 1), 4, 6),
        (nn.ConvTranspose2d(4, 6, 1), 4, 6),
        (nn.BatchNorm2d(4), 4, 4),
        (nn.InstanceNorm2d(4), 4, 4),
        (nn.GroupNorm(2, 4), 4, 4),
        (nn.ReLU(), 4, 4),  # declares none: from a forward pass
    ],
    ids=lambda value: type(value).__name__,
)
def test_channels_are_those_on_the_side_of_the_attention(layer: nn.Module, before: int, after: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), layer)
    for placement, channels in (("pre", before), ("standard", after)):
        assert SiteFinder(model, placement).module_site("1").channels == channels


def test_in_a_sequential_the_last_layer_is_the_host_and_before_it_the_first() -> None:
    inner = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 8, 1)))
    model = nn.Sequential(inner, nn.ReLU())
    after, before = (SiteFinder(model, placement).module_site("0") for placement in ("standard", "pre"))
    assert (after.path, after.position, after.channels) == ("0.1.1", "after", 8)
    assert (before.path, before.position, before.channels) == ("0.0", "before", 3)


def test_a_module_without_a_feature_map_has_no_channels() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(1, 3, 224, 224))
    assert SiteFinder(model, "standard").module_site("1").channels == 0


def test_modules_of_inserted_attention_are_no_sites() -> None:
    gated = insert(torchvision.models.resnet18(), "se", stages=5)
    finder = SiteFinder(gated, "standard")
    assert not [path for path in finder.modules if "attention" in path]
    assert [site.path for site in finder.family_sites() if site.has_attention] == [
        "layer4.0.bn2",
        "layer4.1.bn2",
    ]


def test_a_block_that_lost_a_layer_of_its_family_is_named() -> None:
    model = torchvision.models.resnet18()
    del model.layer2[1].bn2
    with pytest.raises(ExciteError, match=r"layer2\.1: BasicBlock has no module 'bn2', unlike other blocks"):
        SiteFinder(model, "standard").family_sites()


def test_a_path_that_leads_nowhere_or_to_no_module_is_none() -> None:
    model = torchvision.models.resnet18()
    assert submodule(model, "layer1.0.conv1") is model.layer1[0].conv1
    assert submodule(model, "") is model
    for path in ("layer9.0", "layer1.0.conv9", "layer1.0.conv1.weight"):
        assert submodule(model, path) is None
