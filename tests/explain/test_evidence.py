"""Evidence adds up to the logits of trained networks, whatever is around the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.evaluation.calibration import Calibration
from excite.explain.evidence import EvidenceModel, network_evidence, put_back
from excite.explain.layer_maps import layer_maps
from excite.inference.ensemble_network import EnsembleNetwork, MeanEnsemble
from excite.inference.feature_tap import FeatureTap
from excite.models.catalog import create_model
from excite.runs.classifier import Classifier, Ensemble
from tests.explain.nets import cifar_resnet, lite0, photos

NETWORKS = [
    ("densenet121", {}, 64),
    ("densenet121", {"attention": "se"}, 64),
    ("densenet121", {"attention": "cbam"}, 64),
    ("timm:resnet18", {}, 64),
    ("timm:resnet18", {"attention": "se"}, 64),
    ("timm:resnet18", {"attention": "cbam"}, 64),
    ("torchvision:resnet18", {}, 64),
    ("timm:tf_efficientnet_lite0", {"attention": "se"}, 64),
    ("timm:tf_efficientnet_lite0", {"attention": "cbam"}, 64),
    ("cifar_resnet20", {"attention": "se"}, 32),
    ("cifar_resnet20", {"attention": "cbam"}, 32),
    ("bn_inception", {}, 64),
    ("timm:seresnet18", {}, 64),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "side"), NETWORKS, ids=str)
def test_evidence_adds_up_in_every_family(name: str, options: dict, side: int) -> None:
    model = create_model(name, num_classes=5, image_size=None, **options)
    images = torch.randn(2, 3, side, side)
    classes = torch.tensor([[0, 1, 2, 3, 4]]).expand(2, 5)
    evidence = network_evidence(model, images, classes)
    with torch.no_grad():
        expected = model.eval()(images)
    torch.testing.assert_close(evidence.maps.sum((2, 3)) + evidence.bias, expected, atol=1e-4, rtol=0)
    assert evidence.adds_up


@pytest.mark.slow
def test_evidence_adds_up_with_trained_weights(real_data: Path) -> None:
    for model, images in (
        (lite0(), photos(real_data, 6)),
        (cifar_resnet(real_data), photos(real_data, 6, Preprocessing(32))),
    ):
        with torch.no_grad():
            logits = model(images)
        classes = logits.topk(3).indices
        evidence = network_evidence(model, images, classes)
        total = evidence.maps.sum((2, 3)) + evidence.bias
        torch.testing.assert_close(total, logits.gather(1, classes), atol=1e-4, rtol=0)
        assert logits.std() > 0.5


class Vgg(nn.Sequential):
    """Convolutions and a head of linear layers and ReLUs."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(72, 16),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(16, 5),
        )
        for layer in (self[4], self[7]):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)


def test_a_head_with_relus_adds_up_with_the_gradients_of_its_biases() -> None:
    model, images = Vgg(), torch.randn(4, 3, 16, 16)
    evidence = network_evidence(model, images, torch.arange(5).expand(4, 5))
    expected = model.eval()(images)
    torch.testing.assert_close(evidence.maps.sum((2, 3)) + evidence.bias, expected, atol=1e-4, rtol=0)
    assert evidence.bias.std(dim=0).min() > 0.01  # a constant would not do


@pytest.mark.slow
def test_another_head_is_approximate_and_its_gap_is_the_distance(real_data: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Hardswish(), nn.Linear(8, 3)
    )
    images = photos(real_data, 2, Preprocessing(32))
    evidence = network_evidence(model, images, torch.tensor([[0, 1], [0, 1]]))
    assert not evidence.adds_up
    expected = (model(images)[:, :2] - evidence.maps.sum((2, 3)) - evidence.bias).abs()
    torch.testing.assert_close(evidence.gap, expected.detach())


def test_gradients_agree_with_the_head_applied_at_every_position() -> None:
    model = create_model("cifar_resnet20", num_classes=4, attention="se").eval()
    images, classes = torch.randn(3, 3, 32, 32), torch.tensor([0, 2, 3])
    tap = FeatureTap.find(model, images)
    assert tap is not None
    [maps] = layer_maps(model, tap, images, [classes], with_bias=True)
    evidence = network_evidence(model, images, classes[:, None])
    torch.testing.assert_close((maps.gradients * maps.activations).sum(1), evidence.maps[:, 0])
    torch.testing.assert_close(maps.bias, evidence.bias[:, 0])


def test_nothing_is_left_behind_and_frozen_networks_and_inference_mode_work() -> None:
    images, classes = torch.randn(2, 3, 16, 16), torch.tensor([[1], [2]])
    expected = network_evidence(model := Vgg().eval(), images, classes)
    model.train()
    model[0].eval()
    model[4].weight.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    wanted = [p.requires_grad for p in model.parameters()]
    with torch.inference_mode():
        found = network_evidence(model, torch.randn(2, 3, 16, 16).copy_(images), classes)
    torch.testing.assert_close(found.maps, expected.maps)
    assert modes == [module.training for module in model.modules()]
    assert wanted == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_network_made_in_inference_mode_works() -> None:
    with torch.inference_mode():
        torch.manual_seed(1)
        model = Vgg()
        images = torch.randn(2, 3, 16, 16)
        found = network_evidence(model, images, torch.tensor([[1], [2]]))
    torch.manual_seed(1)
    twin = Vgg()
    expected = network_evidence(twin, torch.randn(2, 3, 16, 16), torch.tensor([[1], [2]]))
    torch.testing.assert_close(found.maps, expected.maps)


def test_an_error_leaves_modes_and_hooks_as_they_were() -> None:
    model = Vgg()
    with pytest.raises(RuntimeError):
        network_evidence(model, torch.randn(2, 4, 16, 16), torch.tensor([[1], [2]]))
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_channels_last_and_bfloat16() -> None:
    model = create_model("cifar_resnet20", num_classes=4).eval()
    images, classes = torch.randn(2, 3, 32, 32), torch.tensor([[0, 1], [2, 3]])
    expected = network_evidence(model, images, classes)
    last = network_evidence(
        model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last), classes
    )
    torch.testing.assert_close(last.maps, expected.maps, atol=1e-5, rtol=1e-4)
    narrow = network_evidence(model.bfloat16(), images, classes)
    assert narrow.maps.dtype == torch.float32
    correlation = np.corrcoef(narrow.maps.flatten(), expected.maps.flatten())[0, 1]
    assert correlation > 0.99
    assert float(narrow.gap.max()) <= 2**-6 * float(narrow.logits.abs().max().clamp(min=1))


def test_the_map_turns_with_the_picture() -> None:
    """For a network without a preferred direction."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.AvgPool2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    images, classes = torch.randn(2, 3, 16, 16), torch.tensor([[0, 1], [2, 0]])
    upright = network_evidence(model, images, classes).maps
    for turn in range(1, 4):
        turned = network_evidence(model, torch.rot90(images, turn, (2, 3)), classes).maps
        torch.testing.assert_close(turned, torch.rot90(upright, turn, (2, 3)))


def classifier(tta: str = "none", calibration: Calibration | None = None) -> Classifier:
    model = create_model("cifar_resnet20", num_classes=3)
    return Classifier(model, {}, ("a", "b", "c"), Preprocessing(32, tta=tta), calibration)


@pytest.mark.parametrize("tta", ["none", "flip", "crops"])
def test_softmax_of_sums_and_biases_are_the_probabilities(tta: str) -> None:
    one = classifier(tta, Calibration(2.5, (0.3, -0.2, -0.1)))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    images = normalized(pixels, one.preprocessing)
    evidence = EvidenceModel(one)(images, torch.arange(3).expand(3, 3))
    found = torch.softmax(evidence.maps.sum((2, 3)) + evidence.bias, dim=1)
    expected = one.probabilities(PixelSubset(pixels))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert evidence.adds_up


def normalized(pixels: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    return (images - mean) / std


def test_an_ensemble_gives_the_mean_of_its_members() -> None:
    networks = [create_model("cifar_resnet20", num_classes=3).eval() for _ in range(2)]
    shifts = [[0.1, 0.0, -0.1], [0.0, 0.2, -0.2]]
    model = MeanEnsemble(EnsembleNetwork(networks, [1.5, 0.5], shifts))
    both = Ensemble(model, {}, ("a", "b", "c"), Preprocessing(32), Calibration(2.0, (0.0, 0.5, -0.5)))
    images, classes = torch.randn(2, 3, 32, 32), torch.arange(3).expand(2, 3)
    found = EvidenceModel(both)(images, classes)
    with torch.no_grad():
        logits = torch.stack([net(images) / t for net, t in zip(networks, (1.5, 0.5), strict=True)])
    expected = (logits + torch.tensor(shifts)[:, None]).mean(0) / 2 + torch.tensor([0.0, 0.5, -0.5])
    torch.testing.assert_close(found.maps.sum((2, 3)) + found.bias, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("box", [(0, 0, 28), (4, 0, 28), (2, 2, 28), (1, 3, 20)])
def test_a_crop_is_put_back_where_it_was_with_the_same_sum(box: tuple[int, int, int]) -> None:
    top, left, size = box
    maps = torch.rand(1, 2, 7, 7)
    found = put_back(maps, top, left, size, False, side=32)
    torch.testing.assert_close(found.sum((2, 3)), maps.sum((2, 3)))
    # The center of mass in pixels moves with the crop.
    axis, own = (torch.arange(7) + 0.5) * 32 / 7, (torch.arange(7) + 0.5) * size / 7
    for dimension, start in ((2, top), (3, left)):
        other = 5 - dimension
        before = start + (maps.sum(other) * own).sum(2) / maps.sum((2, 3))
        after = (found.sum(other) * axis).sum(2) / found.sum((2, 3))
        torch.testing.assert_close(after, before, atol=1.2, rtol=0)
