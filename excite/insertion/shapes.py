"""The shapes of the feature maps inside a model."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from excite.insertion.copying import deep_copy

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

# Sides to try: of most ImageNet networks, of Inception, and of networks for small images.
SIDES = (224, 299, 32)
SMALL = 30_000_000  # parameters


class Trace(NamedTuple):
    """The calls of a model's modules, by path, in one forward pass of two square images.

    Args:
        inputs: shape of each module's first input.
        outputs: shape of its output, if that is one tensor.
        called: modules that ran.
        calls: shapes over all calls, of first inputs under ("before", path), of outputs under ("after",
            path); () if that is not a tensor.
    """

    inputs: Shapes
    outputs: Shapes
    called: frozenset[str]
    calls: Mapping[tuple[str, str], set[Shape]]


class _Recorder:
    """A forward hook for every module that records shapes."""

    def __init__(self) -> None:
        self.inputs: dict[str, Shape] = {}
        self.outputs: dict[str, Shape] = {}
        self.called: set[str] = set()
        self.calls: dict[tuple[str, str], set[Shape]] = {}

    def record(
        self, path: str, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        self.called.add(path)
        first = next(iter([*args, *kwargs.values()]), None)
        if isinstance(first, Tensor):
            self.inputs[path] = tuple(first.shape)
        if isinstance(output, Tensor):
            self.outputs[path] = tuple(output.shape)
        for position, value in (("before", first), ("after", output)):
            shape = tuple(value.shape) if isinstance(value, Tensor) else ()
            self.calls.setdefault((position, path), set()).add(shape)

    def trace(self) -> Trace:
        return Trace(self.inputs, self.outputs, frozenset(self.called), self.calls)


def trace_shapes(model: nn.Module) -> Trace:
    """Run a copy of the model on two square images and record the calls of its modules.

    The copy is on the meta device, where nothing is computed. There, PyTorch imports its compiler, which
    takes 2 s; until something else has imported it, a small network runs on the CPU instead, which takes 20
    ms.

    Returns:
        the last call of each module; an empty trace if the model accepts none of the usual image sizes.
    """
    device = "cpu" if _is_small(model) and "torch._dynamo" not in sys.modules else "meta"
    skeleton = _skeleton(model, device)
    for channels, side in _image_sizes(model):
        recorder = _Recorder()
        handles = [
            module.register_forward_hook(partial(recorder.record, path), with_kwargs=True)
            for path, module in skeleton.named_modules()
        ]
        try:
            with torch.no_grad():
                skeleton(torch.zeros(2, channels, side, side, device=device, dtype=_dtype(model)))
            return recorder.trace()
        except Exception:  # a user's model may raise anything at a size that it was not made for
            continue
        finally:
            for handle in handles:
                handle.remove()
    return _Recorder().trace()


def stage_of(shape: Sequence[int], shapes: Trace) -> int | None:
    """The level of resolution of (N, C, H, W) features: one more each time that the height halves.

    Counted as the paper counts a ResNet: its stem, at half of the image's resolution, is stage 1, and layer1
    to layer4 are 2 to 5. Networks that start at full resolution, such as VGG and networks for CIFAR, have
    stage 1 there. Unpadded convolutions lose a few rows, so the number is rounded.
    """
    image = shapes.inputs.get("", ())
    if len(shape) != 4 or len(image) != 4:
        return None
    starts_at_full_resolution = any(
        len(output) == 4 and output[1] > image[1] and output[2] * 1.4 > image[2]
        for output in shapes.outputs.values()
    )
    return round(math.log2(image[2] / shape[2])) + starts_at_full_resolution


def _is_small(model: nn.Module) -> bool:
    """Whether two images take little time: a small network on the CPU, in float32."""
    tensors = [*model.parameters(), *model.buffers()]
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)
    return on_cpu and _dtype(model) == torch.float32 and sum(map(Tensor.numel, tensors)) < SMALL


def _skeleton(model: nn.Module, device: str) -> nn.Module:
    """A copy in evaluation mode, without the caller's hooks; on the CPU it shares the model's weights."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to(device), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to(device)
    skeleton = deep_copy(model, memo)
    for module in skeleton.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return skeleton.eval()


def _image_sizes(model: nn.Module) -> list[tuple[int, int]]:
    """(channels, side) to try: the size that timm declares, then usual sides."""
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    channels = next((convolution.in_channels for convolution in convolutions), 3)
    declared = getattr(model, "pretrained_cfg", None) or {}
    size = declared.get("input_size", (channels, SIDES[0], SIDES[0]))
    return [(channels, size[-1]), *((channels, side) for side in SIDES)]


def _dtype(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
