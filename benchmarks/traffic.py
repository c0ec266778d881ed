"""Memory traffic of a training step per image, with PyTorch's modules and with fused operators, and the time
it takes at a given bandwidth.

Run by hand: ``python benchmarks/traffic.py [NETWORK ...] [--bandwidth 4.8e12]``. Nothing is computed: the
step runs on PyTorch's meta device, channels-last, and every operator is seen as it is called. It reads its
inputs and writes its outputs once, but for those of ``TWICE``. Weights are left out: they are read once a
batch. The fused column replaces what ``excite.kernels`` replaces, by the reads and writes that ``passes``
gives. Augmentation is counted from bytes to a normalized batch, in the same way.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from typing import Any

import torch
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.data.augmentation import DRAWS, PRESETS, augment, normalize
from excite.models.catalog import create_model
from excite.models.densenet import DenseBlock, DenseLayer, DenseNet, Transition

BATCH = 131  # no width of a network, so that a map is known by its first axis
KINDS = {
    "convolution": "convolutions",
    "convolution_backward": "convolutions",
    "native_batch_norm": "batch norm",
    "native_batch_norm_backward": "batch norm",
    "relu": "ReLU",
    "relu_": "ReLU",
    "threshold_backward": "ReLU",
    "cat": "concatenation",
    "max_pool2d_with_indices": "max pooling",
    "max_pool2d_with_indices_backward": "max pooling",
    "avg_pool2d": "average pooling",
    "avg_pool2d_backward": "average pooling",
    "mean": "squeeze and scale",
    "div": "squeeze and scale",
    "mul": "squeeze and scale",
    "sum": "squeeze and scale",
    "add": "addition",
    "add_": "addition",
}
# Inputs that are read twice, as statistics come before what needs them.
TWICE = {"native_batch_norm": (0,), "native_batch_norm_backward": (0, 1)}
# Reads and writes of a norm's map in the passes, forward and backward: with ReLU, and with a shortcut, too.
NORM, TAIL = 1 + 2 + 2 + 3, 1 + 3 + 4 + 3
# The same of PyTorch's norm, and of its ReLU.
ALONE, RELU = 3 + 5, 2 + 3


def is_map(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dim() >= 2 and len(x) == BATCH


class Traffic(TorchDispatchMode):
    """Adds up bytes an image, by kind of operator."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = operator(*arguments, **(options or {}))
        aliases = [each.alias_info for each in operator._schema.returns]
        if any(alias is not None and not alias.is_write for alias in aliases):
            return result  # a view moves nothing
        name = operator.overloadpacket.__name__
        again = [arguments[place] for place in TWICE.get(name, ())]
        if name == "convolution_backward" and arguments[-1][0]:
            again = [arguments[0]]  # the input has a gradient, beside the weights
        moved = [*arguments, *again, *(result if isinstance(result, tuple | list) else [result])]
        self.bytes[KINDS.get(name, "other")] += sum(size(each) for each in flat(moved) if is_map(each))
        return result


def flat(values: Any) -> list[Any]:
    """A list in which the members of inner lists stand by themselves: concatenation is given a list."""
    return [one for each in values for one in (each if isinstance(each, tuple | list) else [each])]


def size(x: Tensor) -> int:
    """Bytes an image; what is repeated by a stride of zero lies in memory once."""
    axes = zip(x.shape[1:], x.stride()[1:], strict=True)
    return x.element_size() * math.prod(length for length, stride in axes if stride)


def eager(model: nn.Module, images: Tensor) -> Counter[str]:
    with Traffic() as traffic:
        model(images).sum().backward()
    return traffic.bytes


def fused(model: nn.Module, images: Tensor, plain: Counter[str]) -> Counter[str]:
    """Of the same step with ``excite.kernels``, from its modules' shapes and, for what stays, ``plain``."""
    blocks = [module for module in model.modules() if isinstance(module, DenseBlock | Transition)]
    inside = {part for block in blocks for part in block.modules() if part is not block}
    residual = [module for module in model.modules() if isinstance(module, BasicBlock | Bottleneck)]
    norms = {
        part: NORM for block in residual for part in block.children() if isinstance(part, nn.BatchNorm2d)
    }
    norms |= {block.bn3 if isinstance(block, Bottleneck) else block.bn2: TAIL for block in residual}
    inside |= {part for block in residual for part in block.children() if isinstance(part, nn.ReLU)}
    if isinstance(model, DenseNet):
        inside |= {part for part in model.features if isinstance(part, nn.ReLU)}  # its stem's, pooled at once
        inside.add(model.features.norm0)
    stays = ["max pooling"] if residual else ["max pooling", "squeeze and scale"]
    found: Counter[str] = Counter({kind: plain[kind] for kind in stays})

    def count(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        if module in inside or not is_map(given[0]) or out.dim() != 4 or out.shape[2] == 1:
            return
        x, y = size(given[0]), size(out)
        if isinstance(module, nn.Conv2d):
            found["convolutions"] += (3 if given[0].requires_grad else 2) * (x + y)
        elif module in norms:
            found["passes"] += norms[module] * y
        elif isinstance(module, nn.BatchNorm2d):  # of a stem, a projection, a head
            found["batch norm"] += ALONE * y
        elif isinstance(module, nn.ReLU):
            found["ReLU"] += RELU * y
        elif isinstance(module, BasicBlock | Bottleneck | SqueezeExcitation):
            found["addition"] += 3 * x  # of the gradients from both ways that x takes
        elif isinstance(module, nn.MaxPool2d) and isinstance(model, DenseNet):
            found["passes"] += NORM * x + 2 * x  # rectified again for the backward pass,
            found["max pooling"] += x + y + 8 * out[0].numel()  # and pooled again, with indices
        elif isinstance(module, DenseBlock):
            found.update(dense_block(module, given[0], out))
        elif isinstance(module, Transition):  # pooled before it is multiplied
            found["passes"] += NORM * x
            found["average pooling"] += 2 * (x + x // 4)
            found["convolutions"] += 3 * (x // 4 + y)

    handles = [module.register_forward_hook(count) for module in model.modules()]
    model(images)
    for handle in handles:
        handle.remove()
    if isinstance(model, DenseNet):  # whose last ReLU is no module
        found["ReLU"] += RELU * size(model.forward_features(images))
    return found


def dense_block(block: DenseBlock, x: Tensor, out: Tensor) -> Counter[str]:
    """Of a block in one buffer, its 1x1 convolutions with the norms before them in their products."""
    found: Counter[str] = Counter()
    channel = size(x) // x.shape[1]
    c = size(x)
    found["concatenation"] += 2 * c + 2 * size(out)  # into the buffer, and its gradient
    found["passes"] += c + 3 * c  # sums; the gradient of what came in
    for layer in block.values():
        assert isinstance(layer, DenseLayer)
        width, k = layer.conv1.out_channels * channel, layer.conv2.out_channels * channel
        found["products"] += c + width  # forward, with the sums of the output
        found["products"] += width + c + 2 * c  # backward: dz, x, and what is asked of x
        found["passes"] += 2 * width + 2 * width  # ReLU(norm2), made again for the backward pass
        found["passes"] += 2 * width + 3 * width  # the gradient of norm2
        found["convolutions"] += width + k + 2 * k + width + width
        found["concatenation"] += 2 * k
        found["passes"] += k + 3 * k  # sums; the gradient of these maps
        c += k
    return found


def augmentation(name: str, side: int) -> int:
    """Bytes an image, from decoded pixels to a normalized batch."""
    pixels = torch.empty(BATCH, side, side, 3, dtype=torch.uint8, device="meta")
    draws, mean = torch.empty(BATCH, DRAWS, device="meta"), torch.empty(3, device="meta")
    with Traffic() as traffic:
        normalize(augment(pixels, draws, PRESETS[name]), mean, mean)
    return traffic.bytes.total()


def table(name: str, side: int, dtype: torch.dtype, bandwidth: float) -> None:
    options = {"attention": "se"} if name.startswith("densenet") else {}
    model = create_model(name, num_classes=1000, **options).to("meta", dtype).train()
    images = torch.empty(BATCH, 3, side, side, dtype=dtype, device="meta")
    images = images.contiguous(memory_format=torch.channels_last)
    plain = eager(model, images)
    ours = fused(model, images, plain)
    print(f"\n{name}, {side} px, {str(dtype)[6:]}\n\n| MB an image | PyTorch | fused |\n|---|---|---|")
    for kind in sorted({*plain, *ours}, key=lambda kind: -max(plain[kind], ours[kind])):
        print(f"| {kind} | {plain[kind] / 1e6:.1f} | {ours[kind] / 1e6:.1f} |")
    print(f"| all | {plain.total() / 1e6:.1f} | {ours.total() / 1e6:.1f} |")
    floors = (f"{each.total() / bandwidth * 1e6:.1f}" for each in (plain, ours))
    print("| lower bound, us per image | {} | {} |".format(*floors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("networks", nargs="*", default=["resnet50", "seresnet50", "densenet121"])
    parser.add_argument("--bandwidth", type=float, default=4.8e12, help="bytes a second (H200: 4.8e12)")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    options = parser.parse_args()
    for name in options.networks:
        table(name, options.size, getattr(torch, options.dtype), options.bandwidth)
    print(f"\n| augmentation, {options.size} px | MB an image | floor, images/s |\n|---|---|---|")
    for name in PRESETS:
        moved = augmentation(name, options.size)
        print(f"| {name} | {moved / 1e6:.2f} | {options.bandwidth / moved:,.0f} |")


if __name__ == "__main__":
    main()
