"""Networks of every family, with random weights, at the smallest images that they take."""

from __future__ import annotations

import warnings

import timm
import torch
import torchvision
from torch import Tensor, nn

from excite.models.catalog import create_model

# name -> (side of the image, attention sites by the table)
NETS = {
    "excite:densenet_bc_40_12": (32, 18),
    "excite:cifar_resnet20": (32, 9),
    "excite:cifar_resnet164": (32, 54),
    "excite:bn_inception": (64, 10),
    "excite:shufflenet_v1_x1_0": (64, 16),
    "excite:resnet50_v1": (64, 16),
    "excite:tf_efficientnet_lite0": (64, 16),
    "timm:resnet50": (64, 16),
    "timm:resnext50_32x4d": (64, 16),
    "timm:res2net50_14w_8s": (64, 16),
    "timm:regnetx_002": (64, 13),
    "timm:vgg11": (32, 8),
    "timm:vgg11_bn": (32, 8),
    "timm:inception_v3": (96, 11),
    "timm:inception_v4": (96, 16),
    "timm:inception_resnet_v2": (96, 40),
    "timm:mobilenetv1_100": (64, 13),
    "timm:mobilenetv2_100": (64, 17),
    "timm:mobilenetv4_conv_small": (64, 12),
    "timm:densenet121": (64, 58),
    "timm:convnext_atto": (64, 12),
    "timm:convnext_tiny": (64, 18),
    "torchvision:resnet18": (64, 8),
    "torchvision:regnet_x_400mf": (64, 22),
    "torchvision:resnext50_32x4d": (64, 16),
    "torchvision:wide_resnet50_2": (64, 16),
    "torchvision:vgg11": (32, 8),
    "torchvision:vgg11_bn": (32, 8),
    "torchvision:googlenet": (64, 9),
    "torchvision:inception_v3": (96, 11),
    "torchvision:mnasnet0_5": (64, 16),
    "torchvision:mobilenet_v2": (64, 17),
    "torchvision:shufflenet_v2_x0_5": (64, 16),
    "torchvision:densenet121": (64, 58),
    "torchvision:convnext_tiny": (64, 18),
}
PLACEMENTS = {
    "pre": [
        "timm:resnet50",
        "torchvision:resnet18",
        "torchvision:regnet_x_400mf",
        "torchvision:mobilenet_v2",
    ],
    "post": ["timm:resnet50", "torchvision:resnet18", "timm:mobilenetv1_100"],
    "identity": ["timm:resnet50", "torchvision:resnet18", "torchvision:regnet_x_400mf", "timm:convnext_atto"],
    "inner": ["timm:resnet50", "torchvision:resnet18", "timm:regnetx_002", "torchvision:regnet_x_400mf"],
}
PLACED = [(name, "standard") for name in NETS] + [(n, s) for s, names in PLACEMENTS.items() for n in names]


def build(name: str) -> nn.Module:
    """In evaluation mode, with random weights everywhere."""
    library, _, bare = name.partition(":")
    torch.manual_seed(0)
    # Libraries draw their own first weights slowly, and VGG has a hundred million in its classifier.
    device = "cpu" if bare.startswith("regnet") else "meta"  # torchvision's RegNet computes its widths there
    with warnings.catch_warnings(), torch.device(device):
        warnings.simplefilter("ignore")
        if library == "excite":
            model = create_model(name, num_classes=7)
        elif library == "timm":
            model = timm.create_model(bare, num_classes=7)
        else:
            options = {"aux_logits": False, "init_weights": False} if "v3" in bare or "goog" in bare else {}
            model = torchvision.models.get_model(bare, weights=None, num_classes=7, **options)
        if library == "timm" and bare.startswith("vgg"):
            model.pre_logits = nn.Conv2d(512, 4096, 1)
        elif bare.startswith("vgg"):
            model.classifier = nn.Linear(512 * 49, 7)
    model = model.to_empty(device="cpu")
    unsettle(model)
    return model.eval()


def unsettle(model: nn.Module) -> None:
    """Random values everywhere: new networks end branches in zeros, where a misplaced gate would not show."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                value.zero_()
            elif value.ndim < 2 or "gamma" in name or "layer_scale" in name:
                low, high = (0.5, 1.0) if name.endswith(("weight", "_var", "gamma", "scale")) else (-0.1, 0.1)
                value.uniform_(low, high)
            else:
                nn.init.kaiming_uniform_(value)


def images(name: str, count: int = 1) -> Tensor:
    return torch.randn(count, 3, NETS[name][0], NETS[name][0], generator=torch.Generator().manual_seed(1))


def logits(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


class Unit(nn.Module):
    """Convolution, norm, activation, and the input again where the shape allows it."""

    def __init__(self, channels: int, width: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, stride, padding=1)
        self.norm = nn.BatchNorm2d(width) if norm else nn.GroupNorm(1, width)
        self.act = nn.ReLU(inplace=True)
        self.adds = channels == width and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        out = self.act(self.norm(self.conv(x)))
        return out + x if self.adds else out


class Net(nn.Module):
    def __init__(self, units: list[tuple[int, int, bool]]) -> None:
        super().__init__()
        self.body, channels = nn.Sequential(), 3
        for width, stride, norm in units:
            self.body.append(Unit(channels, width, stride, norm))
            channels = width
        self.head = nn.Linear(channels, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))
