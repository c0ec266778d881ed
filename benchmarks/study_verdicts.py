"""How often a study says "shown": of equal arms, and of arms with a planted difference, in three designs.

    python benchmarks/study_verdicts.py [studies]

1. the same test images in every seed: who is right is drawn from how hard images are, for each arm and
   training;
2. folds, and 3. other splits in each seed: real learning. Two linear discriminants on two halves of the
   features of Gaussian classes, which are equally good by symmetry; each training draws its training set once
   more with replacement, as another seed would. Every study is analysed as ``excite study`` does it.

"variance" is that of the difference of equal arms from study to study, over what a study states, on the mean:
above 1 studies are surer than they may be.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from excite.evaluation.crossed import CrossedMean, MeanSquares, crossed_mean
from excite.evaluation.folds import CorrectedMean, corrected_mean
from excite.evaluation.power import Simulated, corrected_studies, crossed_studies

Study = Callable[[np.random.Generator, float], CrossedMean | CorrectedMean]
LEVEL = 0.05


def same_images(seeds: int, images: int, own: float = 0.5, between: float = 0.15) -> Study:
    """``own``: how far images are hard for one arm alone; ``between``: how far trainings differ."""

    def study(random: np.random.Generator, delta: float) -> CrossedMean:
        hard = random.normal(0.8, 1.0, images)
        sides = []
        for shift in (0.0, delta):
            level = hard + random.normal(0, own, images) + random.normal(0, between, (seeds, 1)) + shift
            level = level + random.normal(0, 0.3, (seeds, images))
            sides.append((random.normal(size=(seeds, images)) < level).astype(float))
        return crossed_mean(sides[1] - sides[0])

    return study


def discriminant(x: np.ndarray, y: np.ndarray, tested: np.ndarray) -> np.ndarray:
    means = [x[y == label].mean(axis=0) for label in (0, 1)]
    spread = np.cov((x - np.where(y[:, None] == 1, means[1], means[0])).T) + 1e-3 * np.eye(x.shape[1])
    weight = np.linalg.solve(spread, means[1] - means[0])
    return (tested - (means[0] + means[1]) / 2) @ weight > 0


def learnt(seeds: int, images: int, folds: int, *, folded: bool, features: int = 16) -> Study:
    def study(random: np.random.Generator, delta: float) -> CrossedMean | CorrectedMean:
        y = np.arange(images) % 2
        apart = np.full(features, 0.25)
        apart[features // 2 :] += delta
        x = random.normal(size=(images, features)) + apart * (2 * y[:, None] - 1)
        halves = slice(0, features // 2), slice(features // 2, features)
        table, gaps = np.zeros((seeds, images)), []
        for seed in range(seeds):
            part = np.empty(images, dtype=int)
            part[random.permutation(images)] = np.arange(images) % folds
            for fold in range(folds if folded else 1):
                train, test = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
                right = []
                for half in halves:
                    drawn = random.choice(train, len(train))
                    said = discriminant(x[drawn][:, half], y[drawn], x[test][:, half])
                    right.append((said == (y[test] == 1)).astype(float))
                table[seed, test] = right[1] - right[0]
                gaps.append(table[seed, test].mean())
        if folded:
            return crossed_mean(table, overlap=1 / (folds - 1))
        return corrected_mean(gaps, train=images * (1 - 1 / folds), test=images / folds)

    return study


def stated(found: list[CrossedMean | CorrectedMean], seeds: int, images: int, ratio: float) -> Simulated:
    """The power of such studies, from their spread."""
    first = found[0]
    if isinstance(first, CrossedMean):
        crossed = [one.squares for one in found if isinstance(one, CrossedMean)]
        names = ("trainings", "groups", "rest")
        spread = [float(np.mean([getattr(one, name) for one in crossed])) for name in names]
        return crossed_studies(MeanSquares(*spread, seeds, images), seeds, overlap=ratio, alpha=LEVEL)
    deviation = np.sqrt(np.mean([one.deviation**2 for one in found if isinstance(one, CorrectedMean)]))
    return corrected_studies(float(deviation), seeds, ratio, alpha=LEVEL)


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    designs: list[tuple[str, Study, int, int, float, float]] = [
        ("same 200 images, 3 seeds", same_images(3, 200), 3, 200, 0.0, 0.45),
        ("same 200 images, 5 seeds", same_images(5, 200), 5, 200, 0.0, 0.4),
        ("same 1000 images, 5 seeds", same_images(5, 1000), 5, 1000, 0.0, 0.25),
        ("same 200 images, 5 seeds that differ much", same_images(5, 200, between=0.5), 5, 200, 0.0, 1.0),
        ("same 200 images, 10 seeds", same_images(10, 200), 10, 200, 0.0, 0.35),
        ("200 images in 5 folds, 5 seeds", learnt(5, 200, 5, folded=True), 5, 200, 0.25, 0.12),
        ("200 images in 5 folds, 3 seeds", learnt(3, 200, 5, folded=True), 3, 200, 0.25, 0.12),
        ("1000 images in 5 folds, 5 seeds", learnt(5, 1000, 5, folded=True), 5, 1000, 0.25, 0.05),
        ("60 images in 3 folds, 5 seeds", learnt(5, 60, 3, folded=True), 5, 60, 0.5, 0.3),
        ("200 images, 5 other splits", learnt(5, 200, 5, folded=False), 5, 200, 0.25, 0.2),
        ("200 images, 10 other splits", learnt(10, 200, 5, folded=False), 10, 200, 0.25, 0.15),
    ]
    print(f"{studies} studies of each kind; 'shown' is p < 0.05")
    print(f"{'design':<44} {'equal arms':>10} {'variance':>8} {'planted':>8} {'shown':>7} {'stated':>7}")
    for name, study, seeds, images, ratio, delta in designs:
        began, random = time.perf_counter(), np.random.default_rng(1)
        alike = [study(random, 0.0) for _ in range(studies)]
        equal = np.mean([one.p < LEVEL for one in alike])
        variance = np.var([one.mean for one in alike]) / np.mean([one.standard_error**2 for one in alike])
        other = [study(random, delta) for _ in range(studies)]
        true = float(np.mean([one.mean for one in other]))
        power = stated(other, seeds, images, ratio).power(true)
        shown = np.mean([one.p < LEVEL for one in other])
        said = f"{name:<44} {equal:>10.1%} {variance:>8.2f} {100 * true:>6.1f} p {shown:>7.1%} {power:>7.1%}"
        print(f"{said}   {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
