"""Attention in every family of networks: names and values stay, and insertion is reversible."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
import timm
import torch
import torchvision
from torch import nn

from excite.insertion.insert import insert, inserted_sites, insertions, remove
from excite.insertion.site import PLACEMENTS
from excite.insertion.sites import sites
from tests.insertion.nets import NETS, PLACED, build, images, logits


def kinds(model: nn.Module) -> list[tuple[str, type]]:
    return [(path, type(module)) for path, module in model.named_modules()]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "placement"), PLACED)
def test_a_network_keeps_what_it_had_and_gets_it_back(name: str, placement: str) -> None:
    model = build(name)
    before, had = kinds(model), {key: value.clone() for key, value in model.state_dict().items()}
    table = sites(model, placement=placement)
    assert len(table) == NETS[name][1]
    assert all(site.channels > 0 and site.stage for site in table)

    gated = insert(model, "se", placement=placement, reduction=4, identity=True)
    assert kinds(model) == before
    state = gated.state_dict()
    new = [key for key in state if key not in had]
    assert all(torch.equal(state[key], value) for key, value in had.items())
    assert len(new) == 4 * len(table)
    assert {key.rpartition(".attention.")[0] for key in new} == {site.path for site in table}
    assert [key for key in state if key in had] == list(had)

    x = images(name)
    expected = logits(model, x)
    assert torch.equal(logits(gated, x), expected)
    assert [site.path for site in inserted_sites(gated)] == [
        key.partition(".attention.")[0] for key in new[::4]
    ]

    plain = remove(gated)
    assert kinds(plain) == before
    assert list(plain.state_dict()) == list(had)
    assert torch.equal(logits(plain, x), expected)

    (arguments,) = insertions(gated)
    random = insert(model, **{**json.loads(json.dumps(arguments)), "identity": False})
    assert list(random.state_dict()) == list(state)
    assert not torch.allclose(logits(random, x), expected)


# timm's name, torchvision's name, strategies that the family has
BOTH = [
    *((name, name, PLACEMENTS) for name in ("resnet50", "resnext50_32x4d", "wide_resnet50_2")),
    ("regnetx_032", "regnet_x_3_2gf", PLACEMENTS),
    ("regnety_032", "regnet_y_3_2gf", PLACEMENTS),
    *((name, name, ["standard"]) for name in ("vgg16", "vgg16_bn", "inception_v3")),
    ("densenet121", "densenet121", ["standard", "pre"]),
    ("convnext_tiny", "convnext_tiny", ["standard", "pre", "post"]),
    ("mobilenetv2_100", "mobilenet_v2", ["standard", "pre", "post"]),
    ("mobilenetv3_large_100", "mobilenet_v3_large", ["standard", "pre", "post"]),
    ("mobilenetv3_small_100", "mobilenet_v3_small", ["standard", "pre", "post"]),
    ("efficientnet_b0", "efficientnet_b0", ["standard", "pre", "post"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("in_timm", "in_torchvision", "strategies"), BOTH)
def test_one_architecture_has_the_same_sites_in_both_libraries(
    in_timm: str, in_torchvision: str, strategies: Sequence[str]
) -> None:
    with torch.device("meta"):
        ours = timm.create_model(in_timm)
    theirs = torchvision.models.get_model(in_torchvision, weights=None)
    for placement in strategies:
        one, other = (
            [(site.channels, site.stage, site.has_attention) for site in sites(model, placement=placement)]
            for model in (ours, theirs)
        )
        assert one == other, placement


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "timm:mobilenetv3_small_100",
        "timm:efficientnet_b0",
        "timm:tf_efficientnetv2_b0",
        "torchvision:mobilenet_v3_small",
        "torchvision:efficientnet_b0",
        "torchvision:efficientnet_v2_s",
        "torchvision:regnet_y_400mf",
    ],
)
def test_attention_is_added_to_native_attention_at_a_named_place(name: str) -> None:
    model = build(name)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    expected, had = logits(model, x), list(model.state_dict())
    places = [site.path for site in sites(model, placement="post")]
    gated = insert(model, "eca", where=places, placement="post", identity=True)
    assert [site.path for site in inserted_sites(gated)] == places
    assert torch.equal(logits(gated, x), expected)
    assert list(remove(gated).state_dict()) == had


@pytest.mark.parametrize(
    ("name", "own"),
    [("timm:mobilenetv3_small_100", 9), ("timm:efficientnet_b0", 16), ("timm:regnety_002", 13)],
)
def test_blocks_with_native_attention_report_it(name: str, own: int) -> None:
    table = sites(build(name))
    assert sum(site.has_attention for site in table) == own
    assert "yes" in str(table)


def test_the_table_reads_as_one() -> None:
    lines = str(sites(build("torchvision:resnet18"), stages=5)).splitlines()
    assert lines[0].split() == ["module", "position", "block", "stage", "channels", "attention"]
    assert lines[1].split() == ["layer4.0.bn2", "after", "BasicBlock", "5", "512", "-"]
    assert len(lines) == 3


@pytest.mark.parametrize("library", ["timm", "torchvision"])
@pytest.mark.parametrize(("bias", "total"), [(False, 28_071_976), (True, 28_088_024)])
def test_se_resnet50_has_the_published_number_of_parameters(library: str, bias: bool, total: int) -> None:
    with torch.device("meta"):
        model = timm.create_model("resnet50") if library == "timm" else torchvision.models.resnet50()
    gated = insert(model, "se", reduction=16, bias=bias)
    assert sum(p.numel() for p in gated.parameters()) == total


@pytest.mark.parametrize("reduction", [2, 4, 8, 16, 32])
def test_new_parameters_follow_equation_5(reduction: int) -> None:
    """(2 / r) sum of N_s C_s^2, without biases, arXiv 1709.01507."""
    with torch.device("meta"):
        model = torchvision.models.resnet50()
    gated = insert(model, reduction=reduction, bias=False)
    blocks = {256: 3, 512: 4, 1024: 6, 2048: 3}
    expected = sum(2 * number * width**2 // reduction for width, number in blocks.items())
    assert sum(p.numel() for p in gated.parameters()) - sum(p.numel() for p in model.parameters()) == expected


def test_mobilenet_grows_from_4_2_to_4_7_million() -> None:
    with torch.device("meta"):
        model = timm.create_model("mobilenetv1_100")
    plain, gated = (sum(p.numel() for p in net.parameters()) / 1e6 for net in (model, insert(model)))
    assert (round(plain, 1), round(gated, 1)) == (4.2, 4.7)
