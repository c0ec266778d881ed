"""Truncated networks: the head sees the pooled output of the block, and remaining names do not change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from excite.errors import ExciteError
from excite.insertion.insert import inserted_sites
from excite.models.catalog import create_model
from excite.models.head import head_path, linear_head
from excite.models.truncate import last_complete_block, truncate
from excite.models.weights import load_weights

CUTS = [
    ("resnet18", "layer3.1"),
    ("torchvision:resnet18", "layer2"),
    ("densenet121", "features.denseblock3"),
    ("timm:densenet121", "features.denseblock3"),
    ("mobilenetv1_100", "blocks.4.0"),
    ("efficientnet_b0", "blocks.5.3"),
    ("regnetx_002", "s3.b4"),
    ("torchvision:googlenet", "inception4e"),
    ("vgg11_bn", "features.20"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "after"), CUTS)
def test_logits_are_the_heads_of_the_blocks_output(name: str, after: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=5).eval()
    images = torch.randn(2, 3, 64, 64)
    seen: dict[str, torch.Tensor] = {}
    handle = model.get_submodule(after).register_forward_hook(lambda _m, _i, out: seen.update(block=out))
    model(images)
    handle.remove()
    names = set(model.state_dict())
    cut = truncate(model, after, num_classes=3).eval()
    assert set(cut.state_dict()) < names
    cut.get_submodule(head_path(cut)).register_forward_pre_hook(
        lambda _m, inputs: seen.update(head=inputs[0])
    )
    logits = cut(images)
    assert logits.shape == (2, 3)
    head = linear_head(cut)
    assert head.in_features == seen["block"].shape[1]
    torch.testing.assert_close(logits, seen["head"].flatten(1) @ head.weight.T + head.bias)
    if name not in (
        "densenet121",
        "timm:densenet121",
        "vgg11_bn",
    ):  # those have something without weights between
        torch.testing.assert_close(seen["head"].flatten(1), seen["block"].mean(dim=(2, 3)))


def test_attention_is_inserted_into_the_truncated_network() -> None:
    model = create_model("resnet18", num_classes=3, truncate_after="layer3", attention="se")
    assert {site.path.partition(".")[0] for site in inserted_sites(model)} == {"layer1", "layer2", "layer3"}


def test_incomplete_weights_are_used_up_to_the_last_complete_block(real_data: Path) -> None:
    model = create_model("mobilenetv1_100", num_classes=2, pad_type="same")
    report = load_weights(model, real_data / "weights" / "mobilenetv1_100_imagenet_trunk.safetensors")
    assert last_complete_block(model, report.missing) == "blocks.4.0"


def test_a_missing_head_alone_causes_no_truncation() -> None:
    model = create_model("resnet18", num_classes=2)
    assert last_complete_block(model, ["fc.weight", "fc.bias"]) is None
    assert last_complete_block(model, ["layer4.1.conv2.weight"]) == "layer4.0"
    with pytest.raises(ExciteError, match="does not contain a complete block of the network"):
        last_complete_block(model, ["layer1.0.conv1.weight"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "after", "message"),
    [
        ("resnet18", "layer33", "did you mean 'layer3'"),
        ("resnet18", "fc", "is not a feature map"),
        ("torchvision:vgg11_bn", "features.20", "cannot process the output of features.20"),
        ("vit_tiny_patch16_224", "blocks.3", "is not a feature map"),
    ],
)
def test_impossible_truncations_are_refused_with_the_reason(name: str, after: str, message: str) -> None:
    with pytest.raises(ExciteError, match=message):
        create_model(name, num_classes=3, truncate_after=after)
