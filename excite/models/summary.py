"""List the layers of a model with output shapes, parameters, and multiply-adds, without computing values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from excite.errors import ExciteError
from excite.insertion.copying import deep_copy


@dataclass(frozen=True)
class Row:
    """One module.

    Args:
        name: its path in the model; empty for the model itself.
        output_shape: of its first call, without the batch axis; None if the module was not called or did not
            return a tensor.
        parameters: number of parameters, without those of earlier rows.
        multiply_adds: for one image, over all calls.
    """

    name: str
    type: str
    output_shape: tuple[int, ...] | None
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Stage:
    """The modules between two reductions of the resolution.

    Args:
        output: ``56 x 56``, ``197 tokens``, or ``1 x 1`` for the head.
        first, last: paths of the first and the last module.
        layers: number of rows of the summary.
    """

    output: str
    first: str
    last: str
    layers: int
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """Rows in call order; the totals are the sums of the rows.

    There is a row for each module without children, except nn.Identity; one row for each attention module,
    with all its layers; and one for each other module with parameters or operations of its own, such as a
    class token or the matrix products of self-attention.
    """

    image_size: int
    in_chans: int
    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        """Number of parameters of the model."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-adds for one image."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The rows summed by resolution.

        The resolution of a module is the largest from there on, so that what a gate computes from pooled maps
        belongs to the stage of the gate.
        """
        spans: list[tuple[int, str]] = []
        largest = (1, "1 x 1")
        for row in reversed(self.rows):
            largest = max(largest, _resolution(row.output_shape), key=lambda one: one[0])
            spans.append(largest)
        stages = []
        numbered = zip(self.rows, reversed(spans), strict=True)
        for (_, output), group in groupby(numbered, key=lambda pair: pair[1]):
            rows = [row for row, _ in group]
            stages.append(
                Stage(
                    output,
                    rows[0].name,
                    rows[-1].name,
                    len(rows),
                    sum(row.parameters for row in rows),
                    sum(row.multiply_adds for row in rows),
                )
            )
        return tuple(stages)

    def to_dict(self) -> dict[str, Any]:
        """The fields, the rows as dictionaries, the stages, and the totals, for JSON."""
        totals = {"parameters": self.parameters, "multiply_adds": self.multiply_adds}
        return {**asdict(self), "stages": [asdict(stage) for stage in self.stages], **totals}


def summarize(model: nn.Module, image_size: int, in_chans: int = 3) -> Summary:
    """Count parameters and multiply-adds for one image of shape (in_chans, image_size, image_size).

    Multiply-adds are half of the operations that PyTorch's FLOP counter counts for convolutions, linear
    layers, and matrix products, plus ``elementwise_multiply_adds`` of attention modules. Norms, activations,
    and pooling are not counted, as in the papers. A copy of the model runs in evaluation mode on the meta
    device, which needs no memory and computes no values; the model does not change.

    Raises:
        ExciteError: if the model does not take images of this size.
    """
    model = _on_meta(model)
    image = torch.empty(1, in_chans, image_size, image_size, device="meta")
    try:
        with (
            torch.no_grad(),
            FlopCounterMode(display=False) as counter,
            _recording(model, counter) as calls,
        ):
            model(image)
    except (RuntimeError, ValueError, AssertionError) as error:
        shape = f"({in_chans}, {image_size}, {image_size})"
        reason = str(error).partition("\n")[0]
        raise ExciteError(f"the model does not take images of {shape}: {reason}", where="summary") from error
    return Summary(image_size, in_chans, tuple(_rows(model, calls)))


def _resolution(shape: tuple[int, ...] | None) -> tuple[int, str]:
    """The number of positions of an output, and the output in words."""
    if shape is None or len(shape) < 2:
        return 1, "1 x 1"
    if len(shape) == 2:
        return shape[0], f"{shape[0]} tokens"
    height, width = shape[-2:]
    return height * width, f"{height} x {width}"


@dataclass
class _Call:
    """Output shape and multiply-adds of one module; ``own`` excludes its children."""

    output_shape: tuple[int, ...] | None = None
    own: int = 0


@contextmanager
def _recording(model: nn.Module, counter: FlopCounterMode) -> Iterator[dict[str, _Call]]:
    """Record the calls of every unit of the model; the dictionary is filled in call order."""
    calls: dict[str, _Call] = {}
    open_calls: list[tuple[int, list[int]]] = []  # operations at the start, and those of each child

    def enter(name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        calls.setdefault(name, _Call())
        open_calls.append((counter.get_total_flops(), []))

    def leave(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        start, children = open_calls.pop()
        spent = counter.get_total_flops() - start
        if open_calls:
            open_calls[-1][1].append(spent)
        call = calls[name]
        call.own += (spent - sum(children)) // 2
        if _is_attention(module):
            call.own += module.elementwise_multiply_adds(inputs[0].shape)  # type: ignore[operator]
        if call.output_shape is None and isinstance(output, Tensor):
            call.output_shape = tuple(output.shape[1:])

    handles = []
    for name, module in _units(model):
        handles.append(module.register_forward_pre_hook(partial(enter, name)))
        handles.append(module.register_forward_hook(partial(leave, name)))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _rows(model: nn.Module, calls: dict[str, _Call]) -> Iterator[Row]:
    """Rows of the called modules in that order, then of modules with parameters that were not called."""
    units = dict(_units(model))
    counted: set[int] = set()
    for name in [*calls, *(name for name in units if name not in calls)]:
        module, call = units[name], calls.get(name, _Call())
        parameters = 0
        for parameter in module.parameters(recurse=_is_attention(module)):
            if id(parameter) not in counted:
                counted.add(id(parameter))
                parameters += parameter.numel()
        leaf = _is_attention(module) or not any(module.children())
        shown = name in calls and leaf and not isinstance(module, nn.Identity)
        if shown or parameters or call.own:
            yield Row(name, type(module).__name__, call.output_shape, parameters, call.own)


def _is_attention(module: nn.Module) -> bool:
    return hasattr(module, "elementwise_multiply_adds")


def _units(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module once with its name, parents first, without the modules inside attention modules."""
    inside: set[nn.Module] = set()
    for name, module in model.named_modules():
        if _is_attention(module):
            inside.update(list(module.modules())[1:])
        if module not in inside:
            yield name, module


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode with tensors on the meta device; no original tensor is copied."""
    tensors: list[Tensor] = []
    for module in model.modules():
        for held in (vars(module), module._parameters, module._buffers):
            tensors += [value for value in held.values() if isinstance(value, Tensor)]
    memo: dict[int, Any] = {}
    for tensor in tensors:
        empty = torch.empty_like(tensor, device="meta", requires_grad=False)
        memo[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
    return deep_copy(model, memo).eval()
