"""Find the feature map that a network pools before its linear head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from excite.models.head import head_path

_CLOSE = 1e-5  # relative to the largest pooled feature


class FeatureTap:
    """Where the feature map of a network can be seen: at a module, or as what ``forward_features`` returns.

    Evidence maps exist if the head is linear and its input is the mean of the map over its positions: then
    the head, applied at every position, adds up to the logits (class activation maps, Zhou et al. 2016,
    https://arxiv.org/abs/1512.04150, equation 2).

    Args:
        path: of the module.
        place: ``input`` or ``output`` of the module, or ``features``, the result of its ``forward_features``.
        head: the linear layer.
    """

    def __init__(self, path: str, place: str, head: nn.Linear) -> None:
        self.path, self.place, self.head = path, place, head

    @classmethod
    @torch.no_grad()
    def find(cls, model: nn.Module, images: Tensor) -> FeatureTap | None:
        """The place in a network; None if its head is not linear or does not follow a mean over positions.

        Args:
            model: a network in evaluation mode: (N, 3, S, S) -> (N, C).
            images: (N, 3, S, S), to try it on.
        """
        head = model.get_submodule(head_path(model))
        if not isinstance(head, nn.Linear):
            return None
        maps: list[tuple[str, str, Tensor]] = []
        pooled: list[Tensor] = []

        def see(path: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if module is head:
                pooled.append(inputs[0])
            for place, value in (("input", inputs[0] if inputs else None), ("output", output)):
                if isinstance(value, Tensor) and value.ndim == 4:
                    maps.append((path, place, value))

        handles = [
            module.register_forward_hook(
                lambda module, inputs, output, path=path: see(path, module, inputs, output)
            )
            for path, module in model.named_modules()
        ]
        try:
            with _watch_features(model) as features:
                logits = model(images)
        finally:
            for handle in handles:
                handle.remove()
        maps = [("", "features", each) for each in features] + maps
        if len(pooled) != 1 or pooled[0].ndim != 2 or not torch.equal(head(pooled[0]), logits):
            return None
        scale = float(pooled[0].abs().max())
        for path, place, value in reversed(maps):
            fits = value.shape[:2] == pooled[0].shape and value.shape[2:].numel() > 1
            if fits and (value.mean((2, 3)) - pooled[0]).abs().max() <= _CLOSE * scale:
                return cls(path, place, head)
        return None

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[list[Tensor]]:
        """A list that receives the feature map of each call within the block."""
        if self.place == "features":
            with _watch_features(model) as features:
                yield features
            return
        seen: list[Tensor] = []
        module = model.get_submodule(self.path)
        if self.place == "output":
            handle = module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        else:
            handle = module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        try:
            yield seen
        finally:
            handle.remove()


@contextmanager
def _watch_features(model: nn.Module) -> Iterator[list[Tensor]]:
    """A list that receives what ``forward_features`` returns, of a network that has it, within the block."""
    seen: list[Tensor] = []
    original = getattr(model, "forward_features", None)
    if original is None:
        yield seen
        return

    def forward_features(*inputs: Any, **options: Any) -> Any:
        output = original(*inputs, **options)
        if isinstance(output, Tensor) and output.ndim == 4:
            seen.append(output)
        return output

    model.__dict__["forward_features"] = forward_features
    try:
        yield seen
    finally:
        del model.__dict__["forward_features"]
