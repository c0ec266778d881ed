"""How often the tests of a study find a difference at 5 %, for equal arms and for a planted difference, in
three designs, and what normalizing the pseudo-values changes for uneven groups.

    python benchmarks/study_verdicts.py [studies]

1. The same test images for every seed: correct predictions are drawn from the difficulty of the images, for
   each arm and training.
2. Folds, and 3. another split for each seed: real learning. Two linear discriminants on two halves of the
   features of Gaussian classes, which are equally good by symmetry; each training draws its training set once
   more with replacement, as another seed would. Every study is tested as ``excite study`` does it at one
   look; ``study_looks.py`` has several.
4. Groups of 1 to 30 images, most of a group right or wrong together: the balanced accuracy of two arms that
   are equally good, by the normalized pseudo-values and by those with the jackknife's bias correction.

"variance" is that of the difference of equal arms from study to study, over what a study states, on the mean:
above 1 studies are surer than they may be.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from scipy.special import stdtr

from excite.evaluation.folds import CorrectedMean, corrected_mean
from excite.evaluation.mrmc import CrossedMean, MeanSquares, crossed_mean, pseudo_values
from excite.evaluation.power import Simulated, corrected_studies, crossed_studies
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums, jackknife

Study = Callable[[np.random.Generator, float], CrossedMean | CorrectedMean]
Tables = Callable[[np.random.Generator, float], np.ndarray]
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


def learning(seeds: int, images: int, folds: int, *, folded: bool, features: int = 16) -> Tables:
    """(S, N) of who is right, second less first; NaN for images that a seed does not test.

    In folds, the pseudo-values of the mean over the folds: the deviations within each fold.
    """

    def table(random: np.random.Generator, delta: float) -> np.ndarray:
        y = np.arange(images) % 2
        apart = np.full(features, 0.25)
        apart[features // 2 :] += delta
        x = random.normal(size=(images, features)) + apart * (2 * y[:, None] - 1)
        halves = slice(0, features // 2), slice(features // 2, features)
        found = np.full((seeds, images), np.nan)
        for seed in range(seeds):
            part = np.empty(images, dtype=int)
            part[random.permutation(images)] = np.arange(images) % folds
            for fold in range(folds if folded else 1):
                train, test = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
                right = []
                for half in halves:
                    drawn = random.choice(train, len(train))
                    predicted = discriminant(x[drawn][:, half], y[drawn], x[test][:, half])
                    right.append((predicted == (y[test] == 1)).astype(float))
                found[seed, test] = right[1] - right[0]
            if folded:
                found[seed] = of_folds(found[seed], part, folds)
        return found

    return table


def of_folds(gaps: np.ndarray, part: np.ndarray, folds: int) -> np.ndarray:
    """(N,) normalized pseudo-values of the mean over folds of the mean of (N,) gaps."""
    means = np.array([gaps[part == fold].mean() for fold in range(folds)])
    factors = (len(gaps) - 1) / folds / (np.bincount(part) - 1)
    return means.mean() + factors[part] * (gaps - means[part])


def in_folds(seeds: int, images: int, folds: int) -> Study:
    tables = learning(seeds, images, folds, folded=True)
    return lambda random, delta: crossed_mean(tables(random, delta), overlap=1 / (folds - 1))


def other_splits(seeds: int, images: int, folds: int = 5) -> Study:
    tables = learning(seeds, images, folds, folded=False)
    sizes = {"train": images * (1 - 1 / folds), "test": images / folds}
    return lambda random, delta: corrected_mean(np.nanmean(tables(random, delta), axis=1).tolist(), **sizes)


def crossed_splits(table: np.ndarray, overlap: float) -> float:
    """p of a table with gaps by the way that is not taken: trainings and images crossed, as in folds.

    The variance is the sum over trainings and over images that are tested more than once (Cameron, Gelbach &
    Miller 2011), with the degrees of ``MeanSquares``.
    """
    tested = ~np.isnan(table)
    count, rows, columns = int(tested.sum()), len(table), int(tested.any(axis=0).sum())
    mean = float(table[tested].mean())
    rest = np.where(tested, table - mean, 0.0)
    trainings = float((rest.sum(axis=1) ** 2).sum()) / count**2 * rows / (rows - 1)
    images = float((rest.sum(axis=0) ** 2).sum()) / count**2 * columns / (columns - 1)
    single = float((rest**2).sum()) / count**2 * count / (count - 1)
    total = trainings + max(images - single, 0.0)
    if total == 0:
        return 1.0
    parts = trainings**2 / (rows - 1) + images**2 / (columns - 1) + single**2 / count
    degrees = max(total**2 / parts - 2, rows - 1)
    return 2 * float(stdtr(degrees, -abs(mean) / np.sqrt((1 + overlap) * total)))


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", type=int, nargs="?", default=1000)
    studies = parser.parse_args().studies
    designs: list[tuple[str, Study, int, int, float, float]] = [
        ("same 200 images, 3 seeds", same_images(3, 200), 3, 200, 0.0, 0.45),
        ("same 200 images, 5 seeds", same_images(5, 200), 5, 200, 0.0, 0.4),
        ("same 1000 images, 5 seeds", same_images(5, 1000), 5, 1000, 0.0, 0.25),
        ("same 200 images, 5 seeds that differ much", same_images(5, 200, between=0.5), 5, 200, 0.0, 1.0),
        ("same 200 images, 10 seeds", same_images(10, 200), 10, 200, 0.0, 0.35),
        ("200 images in 5 folds, 5 seeds", in_folds(5, 200, 5), 5, 200, 0.25, 0.12),
        ("200 images in 5 folds, 3 seeds", in_folds(3, 200, 5), 3, 200, 0.25, 0.12),
        ("1000 images in 5 folds, 5 seeds", in_folds(5, 1000, 5), 5, 1000, 0.25, 0.05),
        ("60 images in 3 folds, 5 seeds", in_folds(5, 60, 3), 5, 60, 0.5, 0.3),
        ("200 images, 5 other splits", other_splits(5, 200), 5, 200, 0.25, 0.2),
        ("200 images, 10 other splits", other_splits(10, 200), 10, 200, 0.25, 0.15),
        ("60 images, 10 other splits", other_splits(10, 60), 10, 60, 0.25, 0.3),
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
        line = f"{name:<44} {equal:>10.1%} {variance:>8.2f} {100 * true:>6.1f} p {shown:>7.1%} {power:>7.1%}"
        print(f"{line}   {time.perf_counter() - began:.0f} s", flush=True)
    not_taken(3 * studies)
    print(f"\n{studies} studies of equal arms on groups of 1 to 30 images; balanced accuracy")
    heads = ("normalized", "bias-corrected", "mean shift", "95 %", "sign")
    print(f"{'design':<44} {heads[0]:>10} {heads[1]:>14} {heads[2]:>12} {heads[3]:>10} {heads[4]:>7}")
    for groups in (15, 30, 100):
        uneven_groups(studies, groups)


def uneven_groups(studies: int, groups: int, seeds: int = 5) -> None:
    """Equal arms on groups of uneven sizes, by both kinds of pseudo-values."""
    random, shown, shifts, signs = np.random.default_rng(1), np.zeros(2), [], 0
    for _ in range(studies):
        sizes = random.integers(1, 31, groups)
        codes = np.repeat(np.arange(groups), sizes)
        targets, names = codes % 2, codes.astype(str).astype(object)
        hard = random.normal(0.8, 1.0, groups)
        sides = []
        for _ in range(2):
            own, side = hard + random.normal(0, 0.5, groups), []
            for _ in range(seeds):
                level = (own + random.normal(0, 0.3, groups) + random.normal(0, 0.15))[codes]
                right = random.normal(0, 0.5, len(codes)) < level
                said = np.where(right, targets, 1 - targets)
                side.append([Predictions(targets, np.eye(2)[said], ("a", "b"), names)])
            sides.append(side)
        table = pseudo_values(sides[0], sides[1], "balanced_accuracy")
        found = crossed_mean(table)
        bias = [[_jackknife_bias(one[0]) for one in side] for side in sides]
        corrected = crossed_mean(table + (np.array(bias[1]) - bias[0])[:, None])
        shown += [found.p < LEVEL, corrected.p < LEVEL]
        shifts.append(100 * abs(found.mean - corrected.mean))
        signs += found.mean * corrected.mean < 0
    name = f"{groups} uneven groups, {seeds} seeds"
    print(f"{name:<44} {shown[0] / studies:>10.1%} {shown[1] / studies:>14.1%}", end="")
    print(
        f" {np.mean(shifts):>10.2f} p {np.quantile(shifts, 0.95):>8.2f} p {signs / studies:>7.1%}", flush=True
    )


def _jackknife_bias(one: Predictions) -> float:
    """What the mean of ordinary pseudo-values adds to the balanced accuracy."""
    sums = GroupSums(one, ranking=False)
    [left] = jackknife([sums], 0)
    values = left.overall["balanced_accuracy"]
    whole = float(sums.point().overall["balanced_accuracy"][0])
    return (len(values) - 1) * (whole - float(values.mean()))


def not_taken(studies: int) -> None:
    print(
        f"\n{studies} studies of equal arms in other splits, if trainings and images were crossed as in folds"
    )
    for seeds, images in ((5, 200), (10, 200), (10, 60)):
        random, tables = np.random.default_rng(1), learning(seeds, images, 5, folded=False)
        shown = np.mean([crossed_splits(tables(random, 0.0), 0.25) < LEVEL for _ in range(studies)])
        print(f"{f'{images} images, {seeds} other splits':<44} {shown:>10.1%}", flush=True)


if __name__ == "__main__":
    main()
