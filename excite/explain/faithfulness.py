"""Whether a map shows what the answer depends on: insertion and deletion, against maps that know nothing.

The cells of a map's grid are put into a blurred image, the highest first, and the area under the probability
of the explained class is the insertion score; they are replaced by the mean color, and the area is the
deletion score (Petsiuk et al. 2018, https://arxiv.org/abs/1806.07421). All maps are compared on the same grid
with the same cells, so that they differ in nothing but the order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from excite.evaluation.group_means import group_mean_interval
from excite.evaluation.intervals import Interval

STEPS = 8  # areas are sums over this many steps
BLUR = 16  # the blurred image has a side this many times smaller
_BATCH = 64

Probabilities = Callable[[Tensor], Tensor]  # normalized images (N, 3, S, S) -> (N, C)


@dataclass(frozen=True)
class Curves:
    """The probability of the explained class while cells of an image are inserted or deleted.

    Args:
        insertion, deletion: (N, STEPS + 1), from no cell to all cells.
    """

    insertion: np.ndarray
    deletion: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """(N,) area under insertion minus area under deletion."""
        score: np.ndarray = area(self.insertion) - area(self.deletion)
        return score


def area(curves: np.ndarray) -> np.ndarray:
    """(N,) area under curves (N, K) over [0, 1], by the trapezoidal rule.

    >>> area(np.array([[0.0, 1.0, 1.0]]))
    array([0.75])
    """
    found: np.ndarray = (curves[:, 1:] + curves[:, :-1]).mean(axis=1) / 2
    return found


@torch.no_grad()
def insertion_deletion(
    probabilities: Probabilities, images: Tensor, maps: Tensor, classes: Tensor, steps: int = STEPS
) -> Curves:
    """Curves of N images under the order of their maps.

    Args:
        probabilities: of the classifier.
        images: (N, 3, S, S), normalized, so that 0 is the mean color.
        maps: (N, h, w); cells with higher values come first, equal ones in the order of rows.
        classes: (N,) the explained class of each image.
        steps: between no cell and all cells.
    """
    n, height, width = maps.shape
    order = (-maps.flatten(1)).argsort(dim=1, stable=True)
    ranks = order.argsort(dim=1).reshape(n, 1, height, width)
    counts = torch.linspace(0, height * width, steps + 1).round()
    blurred, gray = blur(images), torch.zeros_like(images)
    found = np.empty((2, n, steps + 1))
    for step, count in enumerate(counts):
        chosen = F.interpolate((ranks < count).float(), images.shape[2:], mode="nearest")
        for row, (inside, outside) in enumerate(((images, blurred), (gray, images))):
            mixed = chosen * inside + (1 - chosen) * outside
            found[row, :, step] = _of_class(probabilities, mixed, classes)
    return Curves(*found)


def blur(images: Tensor) -> Tensor:
    """Images without detail: reduced to a sixteenth of their side and enlarged again."""
    side = max(2, images.shape[-1] // BLUR)
    small = F.adaptive_avg_pool2d(images, side)
    return F.interpolate(small, images.shape[2:], mode="bilinear", align_corners=False)


def _of_class(probabilities: Probabilities, images: Tensor, classes: Tensor) -> np.ndarray:
    parts = zip(images.split(_BATCH), classes.split(_BATCH), strict=True)
    found = [probabilities(part).cpu().gather(1, labels[:, None])[:, 0] for part, labels in parts]
    return torch.cat(found).double().numpy()


@dataclass(frozen=True)
class Rivalry:
    """The score of a map minus that of a rival on the same images.

    Args:
        rival: its name.
        score: mean score of the rival.
        value: mean difference.
        interval: of the difference, by group.
    """

    rival: str
    score: float
    value: float
    interval: Interval

    def to_dict(self) -> dict[str, Any]:
        """As in ``explanation.json``."""
        return {
            "rival": self.rival,
            "score": self.score,
            "difference": {"value": self.value, **self.interval.to_dict()},
        }


def compare_scores(scores: Mapping[str, np.ndarray], codes: np.ndarray, method: str) -> list[Rivalry]:
    """The scores of a method minus those of each other map, paired by image.

    Args:
        scores: name -> (N,) scores of the same images.
        codes: (N,) their groups.
        method: the name of the method.
    """
    own = scores[method]
    return [
        Rivalry(
            name, float(other.mean()), float((own - other).mean()), group_mean_interval(own - other, codes)
        )
        for name, other in scores.items()
        if name != method
    ]


PHRASES = {
    "random": "a random order",
    "middle": "looking at the middle",
    "edges": "looking at edges",
    "random head": "the same network with a random head",
}


def verdict(rivalries: list[Rivalry]) -> str:
    """One sentence: which rivals the maps beat, that is, with an interval above 0."""
    beaten = [PHRASES[each.rival] for each in rivalries if (each.interval.low or 0.0) > 0]
    others = [PHRASES[each.rival] for each in rivalries if not (each.interval.low or 0.0) > 0]
    if not others:
        return f"The maps are better than {listed(beaten, 'and')}."
    if not beaten:
        return f"The maps are not shown to be better than {listed(others, 'or')}."
    return (
        f"The maps are better than {listed(beaten, 'and')}, but not shown to be better than "
        f"{listed(others, 'or')}."
    )


def listed(names: list[str], word: str) -> str:
    """Names as text: "a", "a and b", "a, b, and c"."""
    if len(names) <= 2:
        return f" {word} ".join(names)
    return f"{', '.join(names[:-1])}, {word} {names[-1]}"


def rank_correlations(first: Tensor, second: Tensor) -> np.ndarray:
    """(N,) Spearman's rank correlation of the maps (N, h, w) of each image; NaN for a constant map."""
    rows = zip(first.flatten(1).double().numpy(), second.flatten(1).double().numpy(), strict=True)
    constant = np.nan
    return np.array(
        [
            constant if np.ptp(a) == 0 or np.ptp(b) == 0 else float(stats.spearmanr(a, b).statistic)
            for a, b in rows
        ]
    )


@dataclass(frozen=True)
class Pointing:
    """Where the evidence is, relative to an object.

    Args:
        hits: fraction of the images whose highest position is on the object (Zhang et al. 2018).
        inside: mean fraction of the positive evidence on the object.
        object: mean fraction of the image that is the object: what ``inside`` would be by chance.
        interval: of the mean of inside - object, by group.
        images: number of images with an object.
    """

    hits: float
    inside: float
    object: float
    interval: Interval
    images: int

    def to_dict(self) -> dict[str, Any]:
        """As in ``explanation.json``."""
        return {
            "images": self.images,
            "hits": self.hits,
            "inside": self.inside,
            "object": self.object,
            "excess": {"value": self.inside - self.object, **self.interval.to_dict()},
        }


def pointing(maps: Tensor, objects: Tensor, codes: np.ndarray) -> Pointing:
    """How maps (N, h, w) point at objects, masks (N, S, S) between 0 and 1; ``codes`` (N,) are groups."""
    side = objects.shape[-1]
    wide = F.interpolate(maps[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
    best = wide.flatten(1).argmax(dim=1)
    hits = objects.flatten(1).gather(1, best[:, None])[:, 0] > 0.5
    positive = wide.clamp(min=0).flatten(1)
    inside = (positive * objects.flatten(1)).sum(1) / positive.sum(1).clamp(min=1e-12)
    fraction = objects.flatten(1).mean(dim=1)
    excess = (inside - fraction).double().numpy()
    return Pointing(
        float(hits.float().mean()),
        float(inside.mean()),
        float(fraction.mean()),
        group_mean_interval(excess, codes),
        len(maps),
    )
