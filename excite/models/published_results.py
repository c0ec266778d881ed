"""Results that papers report, beside the parameters and multiply-adds of excite's networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from excite.models.catalog import create_model
from excite.models.summary import Summary, summarize

SE_PAPER = "arXiv 1709.01507"


@dataclass(frozen=True)
class PublishedResult:
    """The published results of one network; None for numbers that no paper reports.

    Args:
        title: the network's name in the paper.
        name, image_size, num_classes: the arguments of ``create_model`` for excite's network.
        parameters, se_parameters: in millions, plain and with SE after every block (r = 16).
        gmacs, se_gmacs: multiply-adds for one image, in units of 10^9 (the paper writes GFLOPs).
        original, plain, se: top-1 and top-5 error in percent, on one crop: in the network's paper, in the SE
            paper's re-implementation, and with SE.
        built_in: whether SE is part of the network, so that there is no plain one.
        dataset: the data set of the errors.
        source: paper and table of the numbers.
        difference: how excite's network differs from the paper's; empty if it does not.
    """

    title: str
    name: str
    image_size: int = 224
    num_classes: int = 1000
    parameters: float | None = None
    se_parameters: float | None = None
    gmacs: float | None = None
    se_gmacs: float | None = None
    original: tuple[float | None, float | None] = (None, None)
    plain: tuple[float | None, float | None] = (None, None)
    se: tuple[float | None, float | None] = (None, None)
    built_in: bool = False
    dataset: str = "ImageNet"
    source: str = f"{SE_PAPER}, table 2"
    difference: str = ""


_cifar = partial(PublishedResult, image_size=32, num_classes=10, dataset="CIFAR-10")

# The parameters of ResNet-50 are from the ablations of the SE paper. They belong to the same two networks;
# the errors there are from another recipe, and are not used here.
PUBLISHED: Sequence[PublishedResult] = (
    PublishedResult(
        "ResNet-50",
        "resnet50_v1",
        parameters=25.6,
        se_parameters=28.1,
        gmacs=3.86,
        se_gmacs=3.87,
        original=(24.7, 7.8),
        plain=(24.80, 7.48),
        se=(23.29, 6.62),
    ),
    PublishedResult(
        "ResNet-101",
        "resnet101_v1",
        gmacs=7.58,
        se_gmacs=7.60,
        original=(23.6, 7.1),
        plain=(23.17, 6.52),
        se=(22.38, 6.07),
    ),
    PublishedResult(
        "ResNet-152",
        "resnet152_v1",
        gmacs=11.30,
        se_gmacs=11.32,
        original=(23.0, 6.7),
        plain=(22.42, 6.34),
        se=(21.57, 5.73),
    ),
    PublishedResult(
        "ResNeXt-50 (32x4d)",
        "resnext50_32x4d",
        gmacs=4.24,
        se_gmacs=4.25,
        original=(22.2, None),
        plain=(22.11, 5.90),
        se=(21.10, 5.49),
    ),
    PublishedResult(
        "ResNeXt-101 (32x4d)",
        "resnext101_32x4d",
        gmacs=7.99,
        se_gmacs=8.00,
        original=(21.2, 5.6),
        plain=(21.18, 5.57),
        se=(20.70, 5.01),
    ),
    PublishedResult(
        "VGG-16 (BN)",
        "vgg16_bn",
        gmacs=15.47,
        se_gmacs=15.48,
        plain=(27.02, 8.81),
        se=(25.22, 7.70),
    ),
    PublishedResult(
        "BN-Inception",
        "bn_inception",
        gmacs=2.03,
        se_gmacs=2.04,
        original=(25.2, 7.82),
        plain=(25.38, 7.89),
        se=(24.23, 7.14),
    ),
    PublishedResult(
        "Inception-ResNet-v2",
        "inception_resnet_v2",
        image_size=299,
        gmacs=11.75,
        se_gmacs=11.76,
        original=(19.9, 4.9),
        plain=(20.37, 5.21),
        se=(19.80, 4.79),
        difference="Google's released network at 299 pixels; the SE paper does not describe its own variant",
    ),
    PublishedResult(
        "MobileNet",
        "mobilenetv1_100",
        parameters=4.2,
        se_parameters=4.7,
        gmacs=0.569,
        se_gmacs=0.572,
        original=(29.4, None),
        plain=(28.4, 9.4),
        se=(25.3, 7.7),
        source=f"{SE_PAPER}, table 3",
    ),
    PublishedResult(
        "ShuffleNet",
        "shufflenet_v1_x1_0",
        parameters=1.8,
        se_parameters=2.4,
        gmacs=0.140,
        se_gmacs=0.142,
        original=(32.6, None),
        plain=(32.6, 12.5),
        se=(31.0, 11.1),
        source=f"{SE_PAPER}, table 3",
        difference="0.140 G is given for all 1x variants; the ShuffleNet paper has 0.137 G for three groups; "
        "1.87 M parameters (2.48 M with SE) seem truncated to 1.8 M (2.4 M)",
    ),
    PublishedResult(
        "SENet-154",
        "legacy_senet154",
        se=(18.68, 4.47),
        built_in=True,
        source=SE_PAPER,
    ),
    _cifar(
        "ResNet-20",
        "cifar_resnet20",
        parameters=0.27,
        original=(8.75, None),
        source="arXiv 1512.03385, table 6",
    ),
    _cifar(
        "ResNet-56",
        "cifar_resnet56",
        parameters=0.85,
        original=(6.97, None),
        source="arXiv 1512.03385, table 6",
    ),
    _cifar(
        "ResNet-110",
        "cifar_resnet110",
        parameters=1.7,
        plain=(6.37, None),
        se=(5.21, None),
        source=f"{SE_PAPER}, table 4; arXiv 1512.03385, table 6",
    ),
    _cifar(
        "ResNet-164",
        "cifar_resnet164",
        parameters=1.7,
        plain=(5.46, None),
        se=(4.39, None),
        source=f"{SE_PAPER}, table 4; arXiv 1603.05027, table 4",
        difference="shortcuts pad with zeros; the authors' code has 1x1 convolutions (41,984 more weights)",
    ),
)


@dataclass(frozen=True)
class MeasuredCost:
    """A published network beside ours; what was not measured is None.

    Args:
        parameters, multiply_adds: of ours, plain.
        se_parameters, se_multiply_adds: of ours with SE.
    """

    published: PublishedResult
    parameters: int | None = None
    multiply_adds: int | None = None
    se_parameters: int | None = None
    se_multiply_adds: int | None = None


def measure(row: PublishedResult, insert: Callable[[nn.Module], nn.Module] | None = None) -> MeasuredCost:
    """Builds the network of a row, without memory for its weights, and counts.

    Args:
        insert: plain model -> model with SE; both are on the meta device. Without it only plain networks are
            measured, and those whose SE is their own.
    """
    with torch.device("meta"):
        model = create_model(row.name, num_classes=row.num_classes, image_size=row.image_size)
    plain = se = None
    if row.built_in:
        se = summarize(model, row.image_size)
    else:
        plain = summarize(model, row.image_size)
        if insert is not None:
            with torch.device("meta"):
                model = insert(model)
            se = summarize(model, row.image_size)
    return MeasuredCost(row, *_totals(plain), *_totals(se))


def _totals(summary: Summary | None) -> tuple[int | None, int | None]:
    return (None, None) if summary is None else (summary.parameters, summary.multiply_adds)


def measure_all(insert: Callable[[nn.Module], nn.Module] | None = None) -> list[MeasuredCost]:
    """Every published row, in the papers' order; ``insert`` as in ``measure``."""
    return [measure(row, insert) for row in PUBLISHED]


def se_parameters(channels: Iterable[int], reduction: int = 16, *, bias: bool = True) -> int:
    """What SE adds at sites with these channels.

    Where r divides every C this is (2 / r) sum_s N_s C_s^2 (eq. 5), with ``bias`` and C + C / r more a site.

    Paper: Squeeze-and-Excitation Networks, Hu et al., https://arxiv.org/abs/1709.01507.
    """
    total = 0
    for width in channels:
        hidden = max(1, width // reduction)
        total += 2 * width * hidden + (width + hidden if bias else 0)
    return total
