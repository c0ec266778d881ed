"""The table of excite's own networks: entry points, parameters, and multiply-adds, which tests check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from excite.models import bn_inception, cifar_resnet, densenet, resnet_v1, shufflenet_v1
from excite.models.densenet_config import VARIANTS, Variant
from excite.models.efficientnet_lite import ENTRY_POINTS
from excite.plugins.registry import register_built_in


@dataclass(frozen=True)
class RegisteredModel:
    """One network.

    Args:
        build: the entry point, with keyword options such as ``num_classes`` and ``in_chans``.
        parameters, multiply_adds: for ``num_classes`` classes and one image of ``image_size`` pixels per
            side.
        dense: whether it is a DenseNet, with ``attention``, ``placement``, ``attention_options``, and
            ``stem``.
        pretrained: whether a package or timm's hub has ImageNet weights under this name.
    """

    build: Callable[..., nn.Module]
    parameters: int
    multiply_adds: int
    image_size: int = 224
    num_classes: int = 1000
    dense: bool = False
    pretrained: bool = False


def _dense(name: str, facts: Variant) -> RegisteredModel:
    return RegisteredModel(
        build=getattr(densenet, name),
        parameters=facts.parameters,
        multiply_adds=facts.multiply_adds,
        image_size=32 if facts.stem == "cifar" else 224,
        num_classes=facts.num_classes,
        dense=True,
        pretrained=facts.pretrained,
    )


def _lite(number: int, parameters: int, multiply_adds: int, image_size: int) -> RegisteredModel:
    build = ENTRY_POINTS[f"tf_efficientnet_lite{number}"]
    return RegisteredModel(build, parameters, multiply_adds, image_size, pretrained=True)


REGISTRY: Mapping[str, RegisteredModel] = {
    **{name: _dense(name, facts) for name, facts in VARIANTS.items()},
    "resnet50_v1": RegisteredModel(resnet_v1.resnet50_v1, 25_557_032, 3_857_973_248),
    "resnet101_v1": RegisteredModel(resnet_v1.resnet101_v1, 44_549_160, 7_570_194_432),
    "resnet152_v1": RegisteredModel(resnet_v1.resnet152_v1, 60_192_808, 11_282_415_616),
    "bn_inception": RegisteredModel(bn_inception.bn_inception, 11_285_224, 2_032_600_064),
    "tf_efficientnet_lite0": _lite(0, 4_652_008, 385_187_552, 224),
    "tf_efficientnet_lite1": _lite(1, 5_416_680, 600_185_232, 240),
    "tf_efficientnet_lite2": _lite(2, 6_092_072, 859_736_272, 260),
    "tf_efficientnet_lite3": _lite(3, 8_197_096, 1_607_554_544, 300),
    "tf_efficientnet_lite4": _lite(4, 13_006_568, 3_943_564_112, 380),
    "shufflenet_v1_x1_0": RegisteredModel(shufflenet_v1.shufflenet_v1_x1_0, 1_865_728, 137_460_672),
    "cifar_resnet20": RegisteredModel(cifar_resnet.cifar_resnet20, 269_722, 40_551_040, 32, 10),
    "cifar_resnet56": RegisteredModel(cifar_resnet.cifar_resnet56, 853_018, 125_485_696, 32, 10),
    "cifar_resnet110": RegisteredModel(cifar_resnet.cifar_resnet110, 1_727_962, 252_887_680, 32, 10),
    "cifar_resnet164": RegisteredModel(cifar_resnet.cifar_resnet164, 1_661_274, 239_258_112, 32, 10),
}
register_built_in("model", __name__, ((name, row.build) for name, row in REGISTRY.items()))
