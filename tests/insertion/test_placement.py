"""Placements of attention, against blocks written by hand and the SE networks of timm."""

from __future__ import annotations

import re
from functools import cache
from types import ModuleType

import pytest
import timm
import torch
import torchvision
from torch import nn

from excite.insertion.insert import insert
from tests.insertion.nets import logits, unsettle


def by_hand(block: nn.Module, gates: nn.Module, placement: str, x: torch.Tensor) -> torch.Tensor:
    """A basic block of the paper's figure 5, and table 15's gate inside the branch."""
    relu = torch.relu
    shortcut = block.downsample(x) if block.downsample is not None else x
    branch = block.bn1(block.conv1(gates(x) if placement == "pre" else x))
    if placement == "inner":
        branch = gates(branch)
    branch = block.bn2(block.conv2(relu(branch)))
    if placement == "standard":
        branch = gates(branch)
    if placement == "identity":
        shortcut = gates(shortcut)
    out = relu(branch + shortcut)
    return gates(out) if placement == "post" else out


SITE = {"standard": "bn2", "pre": "conv1", "post": "", "inner": "bn1"}


@cache
def resnet18(library: str) -> nn.Module:
    model = timm.create_model("resnet18") if library == "timm" else torchvision.models.resnet18()
    unsettle(model)
    return model.eval()


@pytest.mark.parametrize("library", ["timm", "torchvision"])
@pytest.mark.parametrize("block", ["layer1.0", "layer2.0"])
@pytest.mark.parametrize("placement", ["standard", "pre", "post", "identity", "inner"])
def test_each_placement_is_the_papers(library: str, block: str, placement: str) -> None:
    model = resnet18(library)
    gated = insert(model, where=block, placement=placement, reduction=4)
    site = {**SITE, "identity": "downsample.1" if block == "layer2.0" else "downsample"}[placement]
    gates = gated.get_submodule(f"{block}.{site}.attention".replace("..", "."))
    x = torch.randn(2, 64, 12, 12)
    with torch.no_grad():
        found = gated.get_submodule(block)(x.clone())
        torch.testing.assert_close(found, by_hand(model.get_submodule(block), gates, placement, x))


LAYERS = [2, 1, 1, 1]  # blocks of each stage: with a convolution in the shortcut, and without


def in_our_names(state: dict[str, torch.Tensor], theirs: str) -> dict[str, torch.Tensor]:
    return {
        re.sub(r"^layer0\.", "", key).replace("last_linear", "fc").replace(theirs, "bn3.attention."): value
        for key, value in state.items()
    }


@pytest.mark.parametrize("library", ["timm", "torchvision"])
@pytest.mark.parametrize("name", ["seresnet50", "seresnext50_32x4d", "legacy_seresnet50"])
def test_timms_se_network_and_the_plain_one_with_its_weights_agree(name: str, library: str) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(name, layers=LAYERS).eval()
    unsettle(theirs)
    if library == "timm":
        plain = timm.create_model("resnext50_32x4d" if "next" in name else "resnet50", layers=LAYERS).eval()
    else:
        options = {"groups": 32, "width_per_group": 4} if "next" in name else {}
        plain = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, LAYERS, **options).eval()
    if "legacy" in name:
        as_in_caffe(plain)
    ours = insert(plain, "se", reduction=16)
    ours.load_state_dict(in_our_names(theirs.state_dict(), "se_module." if "legacy" in name else "se."))
    assert_same_logits(ours, theirs)


@pytest.fixture(scope="module")
def monai_nets() -> ModuleType:
    """Imported once and before the test: importing MONAI changes the environment."""
    return pytest.importorskip("monai.networks.nets", reason="MONAI is not installed")


@pytest.mark.slow
def test_monais_se_network_and_the_plain_one_with_its_weights_agree(monai_nets: ModuleType) -> None:
    torch.manual_seed(0)
    theirs = monai_nets.SEResNet50(spatial_dims=2, in_channels=3, num_classes=1000).eval()
    unsettle(theirs)
    plain = timm.create_model("resnet50").eval()
    as_in_caffe(plain)
    ours = insert(plain, "se", reduction=16)
    state = in_our_names(theirs.state_dict(), "se_layer.")
    state = {re.sub(r"project\.conv", "downsample.0", key): value for key, value in state.items()}
    state = {re.sub(r"project\.adn\.N", "downsample.1", key): value for key, value in state.items()}
    state = {re.sub(r"conv(\d)\.adn\.N", r"bn\1", key): value for key, value in state.items()}
    state = {re.sub(r"(conv\d)\.conv", r"\1", key): value for key, value in state.items()}
    layers = {"attention.fc.0": "attention.fc1", "attention.fc.2": "attention.fc2"}
    for old, new in layers.items():
        state = {key.replace(old, new): value for key, value in state.items()}
    ours.load_state_dict(state)
    assert_same_logits(ours, theirs)


def as_in_caffe(resnet: nn.Module) -> None:
    """The stride in the first 1x1 convolution, and a pool that rounds up without padding."""
    resnet.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
    for block in (resnet.layer2[0], resnet.layer3[0], resnet.layer4[0]):
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def assert_same_logits(ours: nn.Module, theirs: nn.Module) -> None:
    # In double precision, where only a difference in structure is left to be seen.
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(logits(ours.double(), x), logits(theirs.double(), x), rtol=0, atol=1e-9)
    x = x.float()
    found, expected = logits(ours.float(), x), logits(theirs.float(), x)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("last", [False, True])
def test_convnext_is_gated_before_layer_scale(last: bool) -> None:
    model = timm.create_model("convnext_atto", conv_mlp=not last).eval()
    unsettle(model)
    gated = insert(model, where="stages.0.blocks.0", reduction=4)
    block, x = model.stages[0].blocks[0], torch.randn(1, 40, 8, 8)
    gates = gated.get_submodule("stages.0.blocks.0.mlp.attention")
    with torch.no_grad():
        branch = block.conv_dw(x)
        if last:
            branch = block.mlp(block.norm(branch.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        else:
            branch = block.mlp(block.norm(branch))
        expected = gates(branch) * block.gamma.reshape(1, -1, 1, 1) + x
        torch.testing.assert_close(gated.stages[0].blocks[0](x), expected)


@pytest.mark.slow
def test_inception_resnet_is_gated_before_the_scaled_addition() -> None:
    with torch.device("meta"):
        model = timm.create_model("inception_resnet_v2").eval()
    unsettle(model.repeat[0].to_empty(device="cpu"))  # the others have no weights
    gated = insert(model, where="repeat.0")
    block, x = model.repeat[0], torch.randn(1, 320, 5, 5)
    gates = gated.get_submodule("repeat.0.conv2d.attention")
    with torch.no_grad():
        branch = block.conv2d(torch.cat([block.branch0(x), block.branch1(x), block.branch2(x)], 1))
        torch.testing.assert_close(gated.repeat[0](x), torch.relu(gates(branch) * block.scale + x))
