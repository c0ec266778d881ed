"""Class activation maps equal those of pytorch-grad-cam and captum on the same layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from excite.errors import ExciteError
from excite.explain.cam import CAM, METHODS, GradCAM, GradCAMPlusPlus, HiResCAM, ScoreCAM
from excite.models.catalog import create_model
from tests.explain.nets import lite0, photos

library = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
THEIRS: dict[type[CAM], Any] = {
    HiResCAM: library.HiResCAM,
    GradCAM: library.GradCAM,
    GradCAMPlusPlus: library.GradCAMPlusPlus,
    ScoreCAM: library.ScoreCAM,
}


def shown(maps: Tensor, side: int) -> np.ndarray:
    """As the library shows them: positive values, scaled to [0, 1] and enlarged."""
    from pytorch_grad_cam.utils.image import scale_cam_image

    return scale_cam_image(scale_cam_image(np.maximum(maps.numpy(), 0), (side, side)))


def theirs(method: type[CAM], model: nn.Module, layer: str, images: Tensor, classes: Tensor) -> np.ndarray:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with THEIRS[method](model, [model.get_submodule(layer)]) as cam:
        targets = [ClassifierOutputTarget(int(label)) for label in classes]
        return cam(images, targets=targets)


@pytest.mark.slow
@pytest.mark.parametrize("method", THEIRS, ids=lambda method: method.__name__)
def test_maps_of_a_small_network(method: type[CAM]) -> None:
    model = create_model("cifar_resnet20", num_classes=4, attention="se").eval()
    images, classes = torch.randn(2, 3, 32, 32), torch.tensor([1, 3])
    for layer in ("layer3", "layer2"):
        ours = shown(method(model, layer)(images, classes), 32)
        np.testing.assert_allclose(ours, theirs(method, model, layer, images, classes), atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", [HiResCAM, GradCAM, GradCAMPlusPlus], ids=lambda method: method.__name__)
def test_maps_of_a_trained_network(method: type[CAM], real_data: Path) -> None:
    model, images = lite0(), photos(real_data, 4)
    classes = model(images).argmax(1)
    ours = shown(method(model, "bn2")(images, classes), 224)
    np.testing.assert_allclose(ours, theirs(method, model, "bn2", images, classes), atol=1e-3)


def test_grad_cam_equals_captum() -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    model = create_model("cifar_resnet20", num_classes=4).eval()
    images, classes = torch.randn(2, 3, 32, 32), torch.tensor([1, 3])
    expected = captum.LayerGradCam(model, model.get_submodule("layer3")).attribute(images, classes)
    torch.testing.assert_close(GradCAM(model, "layer3")(images, classes), expected[:, 0].detach())


def test_before_pooling_and_a_linear_layer_two_methods_are_one() -> None:
    """There every position has the same gradient, so that Grad-CAM is HiResCAM."""
    model = create_model("cifar_resnet20", num_classes=4).eval()
    images, classes = torch.randn(2, 3, 32, 32), torch.tensor([1, 3])
    torch.testing.assert_close(GradCAM(model)(images, classes), HiResCAM(model)(images, classes))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_network_is_as_before(method: type[CAM]) -> None:
    model = create_model("cifar_resnet20", num_classes=4)
    model.layer1.eval()
    modes = [module.training for module in model.modules()]
    method(model, "layer3")(torch.randn(1, 3, 32, 32), torch.tensor([1]))
    assert modes == [module.training for module in model.modules()]
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_an_unknown_layer_is_refused_with_the_nearest_name() -> None:
    model = create_model("cifar_resnet20", num_classes=4)
    with pytest.raises(ExciteError, match="layer3"):
        GradCAM(model, "layr3")
    with pytest.raises(ExciteError, match="not \\(N, K, h, w\\)"):
        GradCAM(model, "linear")(torch.randn(1, 3, 32, 32), torch.tensor([1]))
