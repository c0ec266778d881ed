from __future__ import annotations

import copy
import io
import pickle
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from excite.errors import ExciteError
from excite.models import cifar_resnet
from excite.models.catalog import create_model
from excite.models.cifar_resnet import BasicBlock, CifarResNet, PaddedShortcut, PreactBottleneck
from excite.models.weights import load_weights

DEPTHS = [20, 56, 110, 164]
EACH = 50  # test images of each class, in the order of their names


@pytest.fixture(scope="module")
def test_images(real_data: Path) -> tuple[Tensor, Tensor]:
    """(500, 3, 32, 32) images, normalized as the weights expect, and their classes in alphabetic order."""
    archive = real_data / "cifar10.tar"
    if not archive.is_file():
        pytest.skip("cifar10.tar is not at hand")
    pixels, names, taken = [], [], Counter()
    with tarfile.open(archive) as tar:
        wanted = sorted((m for m in tar if m.isfile() and m.name.startswith("test/")), key=lambda m: m.name)
        for member in wanted:
            name = member.name.split("/")[1]
            taken[name] += 1
            if taken[name] <= EACH:
                image = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")
                pixels.append(np.asarray(image))
                names.append(name)
    images = (np.stack(pixels) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    classes = sorted(set(names))
    targets = torch.tensor([classes.index(name) for name in names])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float(), targets


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "accuracy"), [(20, 0.810), (56, 0.832)])
def test_trained_weights_load_completely_and_classify(
    real_data: Path, test_images: tuple[Tensor, Tensor], depth: int, accuracy: float
) -> None:
    """On all 10,000 test images they reach 81.03 and 83.20 %; on 500, within two standard errors."""
    model = create_model(f"cifar_resnet{depth}", num_classes=10).eval()
    path = real_data / "weights" / f"cifar10_resnet{depth}.safetensors"
    if not path.is_file():
        pytest.skip(f"{path.name} is not at hand")
    report = load_weights(model, path)
    assert report.complete
    assert report.unexpected == ()
    images, targets = test_images
    assert len(images) == 10 * EACH
    with torch.no_grad():
        right = sum(
            (model(some).argmax(1) == truth).sum().item()
            for some, truth in zip(images.split(100), targets.split(100), strict=True)
        )
    assert right / len(images) == pytest.approx(accuracy, abs=0.035)


@pytest.mark.parametrize("depth", DEPTHS)
def test_depth_counts_the_layers_with_weights(depth: int) -> None:
    with torch.device("meta"):
        model = getattr(cifar_resnet, f"cifar_resnet{depth}")()
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()) == depth


@pytest.mark.parametrize(
    ("channels", "out_channels", "stride", "size"),
    [(16, 32, 2, 8), (32, 64, 2, 7), (16, 64, 1, 5), (3, 8, 3, 6)],
)
def test_shortcut_takes_every_stride_th_pixel_and_pads_channels_with_zeros(
    channels: int, out_channels: int, stride: int, size: int
) -> None:
    x = np.random.default_rng(0).normal(size=(2, channels, size, size)).astype(np.float32)
    shortcut = PaddedShortcut(channels, out_channels, stride)
    kept = x[:, :, ::stride, ::stride]
    before = (out_channels - channels) // 2
    expected = np.zeros((2, out_channels, *kept.shape[2:]), np.float32)
    expected[:, before : before + channels] = kept
    np.testing.assert_array_equal(shortcut(torch.from_numpy(x)).numpy(), expected)
    assert list(shortcut.parameters()) == []


@pytest.mark.parametrize("size", [8, 7])
def test_a_block_with_a_zero_branch_is_its_shortcut(size: int) -> None:
    x = torch.randn(2, 16, size, size)
    same, wider = BasicBlock(16, 16, 1).eval(), BasicBlock(16, 32, 2).eval()
    for block in (same, wider):
        block.bn2.weight.data.zero_()
    with torch.no_grad():
        assert torch.equal(same(x), x.relu())
        assert torch.equal(wider(x), PaddedShortcut(16, 32, 2)(x).relu())


def test_preactivation_leaves_the_shortcut_free_and_starts_it_after_the_norm_where_the_shape_changes() -> (
    None
):
    x = torch.randn(2, 64, 8, 8)
    same, wider = PreactBottleneck(64, 16, 1).eval(), PreactBottleneck(64, 32, 2).eval()
    for block in (same, wider):
        block.bn1.bias.data.fill_(0.3)
        block.conv3.weight.data.zero_()
    with torch.no_grad():
        assert torch.equal(same(x), x)
        active = (x / (1 + wider.bn1.eps) ** 0.5 + 0.3).relu()
        torch.testing.assert_close(wider(x), PaddedShortcut(64, 128, 2)(active))


@pytest.mark.parametrize("depth", [20, 164])
def test_every_parameter_learns_and_a_copy_gives_the_same_output(depth: int) -> None:
    torch.manual_seed(0)
    model = getattr(cifar_resnet, f"cifar_resnet{depth}")()
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    model.eval()
    images = torch.randn(1, 3, 31, 33)
    with torch.no_grad():
        logits = model(images)
        for other in (
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),  # noqa: S301
            torch.fx.symbolic_trace(model),
        ):
            torch.testing.assert_close(other(images), logits)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"depth": 21}, "CifarResNet: depth must be 6n . 2, for example 8, got 21"),
        ({"depth": 2}, "depth must be 6n . 2, for example 8, got 2"),
        ({"depth": -4}, "depth must be 6n . 2"),
        ({"depth": 32, "preactivation": True}, "depth must be 9n . 2, for example 11, got 32"),
        ({"num_classes": -1}, "num_classes must be at least 0, got -1"),
        ({"in_chans": 0}, "in_chans must be at least 1, got 0"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ExciteError, match=match) as caught:
        CifarResNet(**options)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("option", "near"), [("num_class", "num_classes"), ("depth", "known")])
def test_unknown_options_are_refused_with_the_nearest(option: str, near: str) -> None:
    with pytest.raises(ExciteError, match=rf"cifar_resnet20: unknown option '{option}' .*{near}"):
        cifar_resnet.cifar_resnet20(**{option: 8})


def test_images_under_four_pixels_are_refused() -> None:
    with pytest.raises(ExciteError, match="image size 3 is too small: this network needs at least 4 pixels"):
        create_model("cifar_resnet20", image_size=3)
