"""Predictions whose true metrics are known, because as many as one likes can be drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums


def simulate(
    random: np.random.Generator,
    groups: int,
    *,
    classes: int = 2,
    positive: float | None = None,
    size: int = 1,
    alike: float = 0.0,
    signal: float = 1.5,
    uneven: bool = False,
    grouped: bool = True,
) -> Predictions:
    """Images in groups of 1 to 2 size - 1, or of very uneven sizes up to 60; a group has one class.

    Args:
        random: source of the draws.
        groups: number of groups.
        classes: number of classes.
        positive: fraction of groups of the last class; the others are equally frequent. None: all are.
        size: mean number of images in a group.
        alike: how much the images of a group are easy or hard together.
        signal: by how much the logit of the true class is higher.
        uneven: draw sizes between 1 and 60, most of them below 5.
        grouped: whether the predictions know their groups.
    """
    sizes = random.integers(1, 2 * size, groups)
    if uneven:
        sizes = np.ceil(random.lognormal(0.8, 1.1, groups)).clip(max=60).astype(int)
    codes = np.repeat(np.arange(groups), sizes)
    last = 1 / classes if positive is None else positive
    frequencies = np.full(classes, (1 - last) / (classes - 1))
    frequencies[-1] = last
    targets = random.choice(classes, groups, p=frequencies)[codes]
    logits = random.normal(size=(len(codes), classes))
    logits[np.arange(len(codes)), targets] += signal + alike * random.normal(size=groups)[codes]
    names = tuple(f"class {number}" for number in range(classes))
    known = grouped and len(codes) > groups
    return Predictions(targets, softmax(1.2 * logits, axis=1), names, codes if known else None)


def pair(random: np.random.Generator, groups: int, **settings: Any) -> tuple[Predictions, Predictions]:
    """Two classifiers, equally good, that see the same images with an error of their own each."""
    alike = float(settings.get("alike", 0.0))
    base = simulate(random, groups, **{"signal": 1.0, **settings})
    seen, codes = np.log(base.probabilities), base.group_codes
    classes = len(base.classes)

    def one() -> Predictions:
        own = random.normal(size=(groups, classes))[codes] * alike + random.normal(size=seen.shape)
        return Predictions(base.targets, softmax(seen + own, axis=1), base.classes, base.groups)

    return one(), one()


def true_values(settings: dict[str, Any], images: int = 300_000) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics over all classes, and those of the last class, of so many images that they are exact."""
    size = 5 if settings.get("uneven") else int(settings.get("size", 1))
    enough = settings | {"groups": images // size if size == 1 else max(images // size, 100_000)}
    drawn = simulate(np.random.default_rng(99), **enough, grouped=False)
    known = GroupSums(drawn).point()
    return (
        {name: float(values[0]) for name, values in known.overall.items()},
        {name: float(values[-1, 0]) for name, values in known.classes.items()},
    )
