"""How often a study that is looked at repeatedly finds a difference between equal arms, by four rules.

    python benchmarks/study_looks.py [studies]

fixed: every look is tested at 5 %. spending: the rule of ``excite study`` (``evaluation.sequential``).
estimated: the same, with the variance that all trainings share estimated from the images.
mixture: the asymptotic confidence sequence of Waudby-Smith et al. (2021, theorem 2.2), narrowest at the plan.

The plan has 5 seeds. "advice" looks at 5 seeds and, if nothing is shown, once more after the number of seeds
that the rule asks for, up to 60. Tables are drawn as normal effects of trainings, images and both; "images"
is the part of the variance at 5 seeds that the images cause, which more seeds cannot reduce. "other splits"
trains two discriminants (``study_verdicts.py``) and tests by the corrected t.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from excite.evaluation import sequential
from excite.evaluation.folds import corrected_mean
from excite.evaluation.mrmc import CrossedMean, crossed_mean
from excite.evaluation.power import crossed_studies, trainings_needed
from excite.evaluation.sequential import nominal_level

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.study_verdicts import learning

PLANNED, MOST, IMAGES, ALPHA = 5, 60, 200, 0.05
SCHEDULES = {
    "one look": (5,),
    "5, 10, 20": (5, 10, 20),
    "interim 3": (3, 5),
    "each to 30": tuple(range(3, 31)),
}
Level = Callable[[Sequence[int], CrossedMean], float]


def spending(looks: Sequence[int], found: CrossedMean) -> float:
    return nominal_level(looks, PLANNED, ALPHA)


def estimated(looks: Sequence[int], found: CrossedMean) -> float:
    squares = found.squares
    beyond = max(squares.groups - squares.rest, 0.0) / squares.rows
    return nominal_level(looks, PLANNED, ALPHA, shared=round(beyond / squares.trainings, 3))


def mixture(looks: Sequence[int], found: CrossedMean) -> float:
    """The two-sided level of the mixture's bound at n trainings, by its normal quantile."""
    n, rho = looks[-1], (-2 * np.log(ALPHA) + np.log(-2 * np.log(ALPHA) + 1)) / PLANNED
    return 2 * float(ndtr(-np.sqrt((n * rho + 1) / (n * rho) * np.log((n * rho + 1) / ALPHA**2))))


RULES: dict[str, Level] = {
    "fixed": lambda looks, found: ALPHA,
    "spending": spending,
    "estimated": estimated,
    "mixture": mixture,
}


@dataclass(frozen=True)
class Growing:
    """A study whose trainings come one after another; its results with the first n of them."""

    table: np.ndarray

    def at(self, trainings: int) -> CrossedMean:
        return crossed_mean(self.table[:trainings])


def drawn(random: np.random.Generator, images: float, delta: float) -> Growing:
    """Effects such that the estimate of 5 trainings has variance 1, a fraction ``images`` of it by images."""
    rest = 0.3 * (1 - images) * PLANNED * IMAGES
    trainings = 0.7 * (1 - images) * PLANNED
    table = random.normal(0, np.sqrt(rest), (MOST, IMAGES))
    table += random.normal(0, np.sqrt(trainings), (MOST, 1))
    table += random.normal(0, np.sqrt(images * IMAGES), IMAGES) + delta
    return Growing(table)


def shown(study: Growing, looks: Sequence[int], level: Level) -> bool:
    for number, trainings in enumerate(looks):
        found = study.at(trainings)
        if found.p <= level(looks[: number + 1], found):
            return True
    return False


def shown_by_advice(study: Growing, level: Level) -> bool:
    first = study.at(PLANNED)
    if first.p <= level([PLANNED], first):
        return True
    needed = trainings_needed(
        first.mean,
        lambda n: crossed_studies(first.squares, n, alpha=level([PLANNED, n], first), draws=1000),
        PLANNED + 1,
    )
    if needed is None or needed > MOST:
        return False
    after = study.at(needed)
    return after.p <= level([PLANNED, needed], after)


def crossed(studies: int) -> None:
    print(f"{studies} studies; equal arms shown, and a difference of 2.5 standard errors at 5 seeds")
    heads = [*SCHEDULES, "advice", "planted: one", "advice", "width"]
    print(f"{'images':<8}{'rule':<12}" + "".join(f"{head:>13}" for head in heads))
    for images in (0.0, 0.3, 0.7):
        for name, level in RULES.items():
            random = np.random.default_rng(1)
            equal = [drawn(random, images, 0.0) for _ in range(studies)]
            row = [np.mean([shown(one, looks, level) for one in equal]) for looks in SCHEDULES.values()]
            row.append(np.mean([shown_by_advice(one, level) for one in equal]))
            other = [drawn(random, images, 2.5) for _ in range(studies)]
            row.append(np.mean([shown(one, (PLANNED,), level) for one in other]))
            row.append(np.mean([shown_by_advice(one, level) for one in other]))
            print(
                f"{images:<8.0%}{name:<12}"
                + "".join(f"{value:>13.1%}" for value in row)
                + f"{width(equal, level):>13.2f}",
                flush=True,
            )


def width(studies: Sequence[Growing], level: Level) -> float:
    """The mean width of the interval at one look at the plan, over that of the fixed interval."""
    ratios = []
    for one in studies[:500]:
        found = one.at(PLANNED)
        degrees = found.squares.degrees
        ratios.append(stdtrit(degrees, 1 - level([PLANNED], found) / 2) / stdtrit(degrees, 1 - ALPHA / 2))
    return float(np.mean(ratios))


def other_splits(studies: int) -> None:
    print(f"\n{studies} studies of equal arms in other splits, 200 images")
    tables, ratio = learning(30, 200, 5, folded=False), 0.25
    random = np.random.default_rng(1)
    values = [np.nanmean(tables(random, 0.0), axis=1).tolist() for _ in range(studies)]
    for name in ("fixed", "spending"):
        row = []
        for looks in SCHEDULES.values():
            ps = [[corrected_mean(one[:n], train=160, test=40).p for n in looks] for one in values]
            levels = [
                ALPHA if name == "fixed" else nominal_level(looks[: k + 1], PLANNED, ALPHA, shared=ratio)
                for k in range(len(looks))
            ]
            row.append(np.mean([any(p <= a for p, a in zip(one, levels, strict=True)) for one in ps]))
        print(f"{name:<20}" + "".join(f"{value:>13.1%}" for value in row), flush=True)


def parts_at_the_plan() -> None:
    """Normal quantiles of one look at 5 seeds, and of another at 15, by what is spent at the plan."""
    print("\npart spent at the plan   bound at 5   then at 15   (normal quantiles; 1.96 is the fixed bound)")
    for part in (0.5, 0.7, 0.8, 0.9):
        sequential.AT_THE_PLAN = part
        sequential._last_look.cache_clear()
        bounds = [-ndtri(nominal_level(looks, 5, ALPHA) / 2) for looks in ([5], [5, 15])]
        print(f"{part:<25}{bounds[0]:>10.2f}{bounds[1]:>13.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", type=int, nargs="?", default=1000)
    studies = parser.parse_args().studies
    crossed(studies)
    other_splits(studies)
    parts_at_the_plan()


if __name__ == "__main__":
    main()
