"""The feature map before a head: where it is, and whether the head is pooling and a linear layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from excite.errors import ExciteError
from excite.models.head import head_path

_CLOSE = 1e-5  # relative to the largest pooled feature

Replace = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FeatureTap:
    """Where the feature map of a network can be seen: at a module, or as what ``forward_features`` returns.

    Evidence maps exist if the head is linear and its input is the mean of the map over its positions: then
    the head, applied at every position, adds up to the logits (class activation maps, Zhou et al. 2016,
    https://arxiv.org/abs/1512.04150, equation 2).

    Args:
        path: of the module.
        place: ``input`` or ``output`` of the module, or ``features``, the result of its ``forward_features``.
        head: the linear layer that follows the mean over positions; None if another head follows.
    """

    path: str
    place: str
    head: nn.Linear | None = None

    @classmethod
    def find(cls, model: nn.Module, images: Tensor) -> FeatureTap | None:
        """The map in a network whose head is pooling and a linear layer; None for another head.

        Args:
            model: a network in evaluation mode: (N, 3, S, S) -> (N, C).
            images: (N, 3, S, S), to try it on.
        """
        path = head_path(model)
        head = model.get_submodule(path)
        if not isinstance(head, nn.Linear):
            return None
        maps, inputs, logits = _record(model, images, path)
        if len(inputs) != 1 or inputs[0].ndim != 2 or not torch.equal(head(inputs[0]), logits):
            return None
        pooled = inputs[0]
        scale = float(pooled.abs().max())
        for tap, value in reversed(maps):
            if (
                value.shape[:2] == pooled.shape
                and (value.mean((2, 3)) - pooled).abs().max() <= _CLOSE * scale
            ):
                return cls(tap.path, tap.place, head)
        return None

    @classmethod
    def last(cls, model: nn.Module, images: Tensor) -> FeatureTap:
        """As ``find``; for another head the result of ``forward_features``, else the last map of all.

        Raises:
            ExciteError: for a network without a map of several positions.
        """
        if (exact := cls.find(model, images)) is not None:
            return exact
        maps, _, _ = _record(model, images, head_path(model))
        named = [tap for tap, _ in maps if tap.place == "features"]
        outputs = [tap for tap, _ in maps if tap.place == "output"]
        if not named and not outputs:
            what = f"{type(model).__name__} has no feature map with several positions to explain"
            raise ExciteError(what, hint="use larger images, or a convolutional network")
        return (named or outputs)[-1]

    @contextmanager
    def watch(self, model: nn.Module, replace: Replace | None = None) -> Iterator[list[Tensor]]:
        """A list that receives the feature map of each call within the block.

        Args:
            replace: returns what the network continues with in place of the map; the list receives that.
        """
        seen: list[Tensor] = []

        def see(value: Any) -> Any:
            seen.append(value if replace is None else replace(value))
            return None if replace is None else seen[-1]

        if self.place == "features":
            with _watch_features(model, see):
                yield seen
            return
        module = model.get_submodule(self.path)
        if self.place == "output":
            handle = module.register_forward_hook(lambda _module, _inputs, output: see(output))
        else:
            handle = module.register_forward_pre_hook(lambda _module, inputs: _first(see(inputs[0]), inputs))
        try:
            yield seen
        finally:
            handle.remove()


def _is_map(value: Any) -> TypeGuard[Tensor]:
    """Whether it is a tensor (N, K, h, w) with several positions."""
    return isinstance(value, Tensor) and value.ndim == 4 and value.shape[2:].numel() > 1


def _first(value: Tensor | None, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    return None if value is None else (value, *inputs[1:])


@torch.no_grad()
def _record(
    model: nn.Module, images: Tensor, head: str
) -> tuple[list[tuple[FeatureTap, Tensor]], list[Tensor], Tensor]:
    """All maps with several positions in the order of the network, the inputs of the head, and the logits."""
    maps: list[tuple[FeatureTap, Tensor]] = []
    inputs_of_head: list[Tensor] = []

    def see(path: str, inputs: tuple[Any, ...], output: Any) -> None:
        if path == head:
            inputs_of_head.append(inputs[0])
        for place, value in (("input", inputs[0] if inputs else None), ("output", output)):
            add(FeatureTap(path, place), value)

    def add(tap: FeatureTap, value: Any) -> None:
        # Not a transformer's attention (N, heads, tokens, tokens), nor maps with channels last.
        if _is_map(value) and value.shape[2] * images.shape[3] == value.shape[3] * images.shape[2]:
            maps.append((tap, value))

    handles = [
        module.register_forward_hook(lambda _module, inputs, output, path=path: see(path, inputs, output))
        for path, module in model.named_modules()
        if path
    ]
    try:
        with _watch_features(model, lambda value: add(FeatureTap("", "features"), value)):
            logits = model(images)
    finally:
        for handle in handles:
            handle.remove()
    return maps, inputs_of_head, logits


@contextmanager
def _watch_features(model: nn.Module, see: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Calls ``see`` with what ``forward_features`` returns, of a network that has it, within the block."""
    original = getattr(model, "forward_features", None)
    if original is None:
        yield
        return

    def forward_features(*inputs: Any, **options: Any) -> Any:
        output = original(*inputs, **options)
        if not _is_map(output):
            return output
        replaced = see(output)
        return output if replaced is None else replaced

    previous = model.__dict__.get("forward_features")
    model.__dict__["forward_features"] = forward_features
    try:
        yield
    finally:
        del model.__dict__["forward_features"]
        if previous is not None:
            model.__dict__["forward_features"] = previous
