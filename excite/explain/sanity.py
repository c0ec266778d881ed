"""Tests that refute a map: layers randomized from the head down, and shifts that do not change the answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.explain.faithfulness import rank_correlations
from excite.explain.rivals import randomize
from excite.insertion.copying import deep_copy
from excite.models.head import head_path

Maps = Callable[[nn.Module, Tensor], Tensor]  # network and images (N, 3, S, S) -> maps (N, h, w)

MOST_POINTS = 8  # of a cascade
SHIFT = 1 / 28  # of the side: 8 of 224 pixels


def cascade(model: nn.Module, images: Tensor, maps: Maps, seed: int = 0) -> list[tuple[str, float]]:
    """The mean rank correlation with the maps of the network whose layers are random, from the head down.

    Adebayo et al. 2018 (https://arxiv.org/abs/1810.03292, section 3.1). A map that stays the same does not
    depend on what the network has learned.

    Args:
        model: it does not change.
        images: (N, 3, S, S), normalized.
        maps: the method.

    Returns:
        (layer, correlation) for at most ``MOST_POINTS`` parts; all parts after each are random, too.
    """
    copy = deep_copy(model)
    expected = maps(copy, images)
    head = head_path(copy)
    parts = [head, *_parts(copy, head)]
    measured = {int(k) for k in np.linspace(0, len(parts) - 1, MOST_POINTS)}
    found = []
    for number, path in enumerate(parts):
        randomize(copy.get_submodule(path), seed + number)
        if number in measured:
            found.append((path, _mean(rank_correlations(expected, maps(copy, images)))))
    return found


def _parts(model: nn.Module, head: str) -> list[str]:
    """Paths of the parts with weights, from the last to the first: children, and those of containers."""
    paths = []
    for name, child in model.named_children():
        inner = [f"{name}.{leaf}" for leaf, _ in child.named_children()]
        several = isinstance(child, nn.Sequential | nn.ModuleList) and len(inner) > 1
        paths += inner if several else [name]
    with_weights = [path for path in paths if any(True for _ in model.get_submodule(path).parameters())]
    return [path for path in reversed(with_weights) if path != head and not head.startswith(f"{path}.")]


def stability(
    classes: Callable[[Tensor], Tensor], maps: Callable[[Tensor], Tensor], images: Tensor
) -> tuple[float, int]:
    """The mean rank correlation of maps before and after small shifts of the image, and how many counted.

    Images are shifted by 1/28 of their side in each of four directions, their border pixels repeated; maps
    are shifted back. A shift after which another class is predicted does not count.

    Args:
        classes: normalized images (N, 3, S, S) -> predicted classes (N,).
        maps: images -> (N, h, w), of these classes.
        images: (N, 3, S, S).
    """
    side = images.shape[-1]
    step = max(1, round(SHIFT * side))
    before, expected = classes(images), _wide(maps(images), side)
    inner = slice(step, side - step)
    correlations: list[np.ndarray] = []
    for down, right in ((step, 0), (-step, 0), (0, step), (0, -step)):
        shifted = shift(images, down, right)
        same = classes(shifted) == before
        if not same.any():
            continue
        back = shift(_wide(maps(shifted), side)[:, None], -down, -right)[:, 0]
        pairs = [F.avg_pool2d(m[same][:, inner, inner], max(1, side // 32)) for m in (expected, back)]
        correlations.append(rank_correlations(*pairs))
    joined = np.concatenate([np.empty(0), *correlations])
    return _mean(joined), len(joined)


def shift(images: Tensor, down: int, right: int) -> Tensor:
    """Images (N, C, S, S) shifted by whole pixels; the border is repeated.

    >>> shift(torch.tensor([[[[1, 2], [3, 4]]]]).float(), 0, 1)
    tensor([[[[1., 1.],
              [3., 3.]]]])
    """
    height, width = images.shape[2:]
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    return images[:, :, rows][:, :, :, columns]


def _wide(maps: Tensor, side: int) -> Tensor:
    return F.interpolate(maps[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
