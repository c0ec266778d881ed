"""Where the pooled feature map is found, and that other heads are told apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from excite.errors import ExciteError
from excite.inference.feature_tap import FeatureTap
from excite.inference.tta import apply_tta, tta_boxes
from excite.models.catalog import create_model


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["densenet121", "timm:resnet18", "torchvision:resnet18", "torchvision:densenet121", "bn_inception"],
)
def test_the_head_applied_at_every_position_gives_the_logits(name: str) -> None:
    model, images = create_model(name, num_classes=4).eval(), torch.randn(2, 3, 64, 64)
    tap = FeatureTap.find(model, images)
    assert tap is not None
    assert tap.head is not None
    with torch.no_grad(), tap.watch(model) as seen:
        logits = model(images)
    [features] = seen
    by_hand = torch.einsum("cf,nfhw->nchw", tap.head.weight, features).mean((2, 3)) + tap.head.bias
    torch.testing.assert_close(by_hand, logits, atol=1e-5, rtol=1e-4)


def small(*head: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), *head).eval()


@pytest.mark.parametrize(
    "head",
    [
        (nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 2)),
        (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Hardswish(), nn.Linear(6, 2)),
        (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 2)),
        (nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 2, 1), nn.Flatten()),
    ],
    ids=["maximum", "activation", "flattened", "convolution"],
)
def test_another_head_has_no_exact_map_but_a_last_one(head: tuple[nn.Module, ...]) -> None:
    model, images = small(*head), torch.randn(2, 3, 12, 12)
    assert FeatureTap.find(model, images) is None
    tap = FeatureTap.last(model, images)
    assert tap.head is None
    with tap.watch(model) as seen:
        model(images)
    assert seen[0].shape[2] > 1


def test_a_replaced_map_is_what_the_network_continues_with() -> None:
    model = small(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    images = torch.randn(2, 3, 12, 12)
    tap = FeatureTap.find(model, images)
    assert tap is not None
    with torch.no_grad(), tap.watch(model, torch.zeros_like):
        found = model(images)
    assert torch.equal(found, model[4].bias.detach().expand(2, 2))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_map_of_forward_features_is_watched_and_nothing_is_left() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 2)

        def forward_features(self, x: Tensor) -> Tensor:
            return torch.relu(self.stem(x))

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.forward_features(x).mean((2, 3)))

    model, images = Named().eval(), torch.randn(1, 3, 8, 8)
    tap = FeatureTap.find(model, images)
    assert tap is not None
    assert tap.place == "features"
    assert "forward_features" not in vars(model)


def test_a_network_without_a_map_is_refused() -> None:
    with pytest.raises(ExciteError, match="no feature map"):
        FeatureTap.last(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.randn(1, 3, 4, 4))


@pytest.mark.parametrize("mode", ["none", "flip", "crops"])
def test_boxes_are_where_the_versions_come_from(mode: str) -> None:
    side = 16
    places = torch.arange(side).float()
    images = torch.stack([places[:, None].expand(side, side), places.expand(side, side)])[None]
    versions, boxes = apply_tta(images, mode), tta_boxes(mode, side)
    assert len(versions) == len(boxes)
    for version, (top, left, size, mirrored) in zip(versions, boxes, strict=True):
        rows, columns = version[0]
        assert rows.mean() == pytest.approx(top + (size - 1) / 2, abs=0.1)
        assert columns.mean() == pytest.approx(left + (size - 1) / 2, abs=0.1)
        assert bool(columns[0, 0] > columns[0, -1]) == mirrored
