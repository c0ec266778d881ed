"""The shapes inside a model."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from excite.insertion.copying import deep_copy

Shapes = Mapping[str, tuple[int, ...]]

# Sides to try: what most ImageNet nets are made for, what Inception needs, and what small ones are made for.
SIDES = (224, 299, 32)
SMALL = 30_000_000  # parameters


class Trace(NamedTuple):
    """What a run of a model on a pair of square images showed, by the paths of its modules.

    Args:
        inputs: shape of a module's first input.
        outputs: shape of its output, where that is one tensor.
        called: modules that ran.
        every: the shapes of all calls' first inputs, ("before", path), and outputs, ("after", path); () where
            that is no tensor.
    """

    inputs: Shapes
    outputs: Shapes
    called: frozenset[str]
    every: Mapping[tuple[str, str], set[tuple[int, ...]]]


def trace_shapes(model: nn.Module) -> Trace:
    """Run a model on a pair of square images and note its modules' calls.

    A skeleton of the model runs, on the meta device, where nothing is computed; the model itself is not
    touched. Torch imports its compiler to know shapes on that device: a small network is asked in earnest
    instead as long as nobody has imported it, which is 20 ms and not 2 s of a cold ``excite predict``.
    A module that is called more than once is listed with its last call. Where the model does not take images,
    nothing is listed.
    """
    device = "cpu" if _is_small(model) and "torch._dynamo" not in sys.modules else "meta"
    skeleton = _skeleton(model, device)
    for channels, side in _image_sizes(model):
        inputs: dict[str, tuple[int, ...]] = {}
        outputs: dict[str, tuple[int, ...]] = {}
        called: set[str] = set()
        every: dict[tuple[str, str], set[tuple[int, ...]]] = {}
        handles = [
            module.register_forward_hook(
                partial(_note, path, inputs, outputs, called, every), with_kwargs=True
            )
            for path, module in skeleton.named_modules()
        ]
        try:
            with torch.no_grad():
                skeleton(torch.zeros(2, channels, side, side, device=device, dtype=_dtype(model)))
            return Trace(inputs, outputs, frozenset(called), every)
        except Exception:  # whatever a foreign model raises at a size that it was not made for
            continue
        finally:
            for handle in handles:
                handle.remove()
    return Trace({}, {}, frozenset(), {})


def stage_of(shape: Sequence[int], shapes: Trace) -> int | None:
    """The level of resolution of (N, C, H, W) features: one more each time that the height halves.

    Counted as the paper counts a ResNet's: its stem, at half of the image, is 1, layer1 to layer4 are 2 to 5.
    Nets that compute at the full size first, as VGG and CIFAR nets do, begin with 1 there. Unpadded
    convolutions shave a few rows off, so the number is rounded.
    """
    inputs, outputs = shapes.inputs, shapes.outputs
    image = inputs.get("", ())
    if len(shape) != 4 or len(image) != 4:
        return None
    full = any(len(s) == 4 and s[1] > image[1] and s[2] * 1.4 > image[2] for s in outputs.values())
    return round(math.log2(image[2] / shape[2])) + full


def _is_small(model: nn.Module) -> bool:
    """Whether a pair of images is soon through it: on the CPU, in float32."""
    tensors = [*model.parameters(), *model.buffers()]
    here = all(tensor.device.type == "cpu" for tensor in tensors)
    return here and _dtype(model) == torch.float32 and sum(map(Tensor.numel, tensors)) < SMALL


def _skeleton(model: nn.Module, device: str) -> nn.Module:
    """The model's structure in evaluation mode, without the caller's hooks; on the CPU with its weights."""
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
    """(channels, side) to try: what timm declares, else the first convolution's channels at usual sides."""
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    channels = next((convolution.in_channels for convolution in convolutions), 3)
    declared = getattr(model, "pretrained_cfg", None) or {}
    size = declared.get("input_size", (channels, SIDES[0], SIDES[0]))
    return [(channels, size[-1]), *((channels, side) for side in SIDES)]


def _dtype(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _note(
    path: str,
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
    called: set[str],
    every: dict[tuple[str, str], set[tuple[int, ...]]],
    _module: nn.Module,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    output: Any,
) -> None:
    called.add(path)
    first = next(iter([*arguments, *keywords.values()]), None)
    if isinstance(first, Tensor):
        inputs[path] = tuple(first.shape)
    if isinstance(output, Tensor):
        outputs[path] = tuple(output.shape)
    for position, value in (("before", first), ("after", output)):
        every.setdefault((position, path), set()).add(tuple(value.shape) if isinstance(value, Tensor) else ())
