"""The looks at one pair of arms, and the levels of its tests that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from excite.evaluation.sequential import nominal_level, sequential_p
from excite.study.store.store import Look


@dataclass(frozen=True)
class PairLooks:
    """The looks at a pair of arms that tested it.

    Args:
        pairs: number of pairs of cells at each look, ascending.
        planned: number of pairs that was planned at the first look.
        folds: number of pairs per seed.
        shared: as for ``nominal_level``.
    """

    pairs: tuple[int, ...]
    planned: int
    folds: int = 1
    shared: float = 0.0

    def level(self, alpha: float) -> float:
        """The level at which the last look is tested, so that all together have level alpha."""
        return nominal_level(self.pairs, self.planned, alpha, shared=self.shared)

    def level_with(self, seeds: int, alpha: float) -> float:
        """The level of another look, with this number of seeds."""
        later = max(seeds * self.folds, self.pairs[-1] + 1)
        return nominal_level([*self.pairs, later], self.planned, alpha, shared=self.shared)

    def adjusted(self, p: float) -> float:
        """The p-value of the last look, adjusted for all looks."""
        return sequential_p(p, self.pairs, self.planned, shared=self.shared)


def pair_looks(
    looks: Sequence[Look], one: str, two: str, current: int, *, fewest: int, folds: int, shared: float
) -> PairLooks:
    """The looks at a pair up to now; looks with the same pairs of cells are one.

    Args:
        looks: the looks of the study, in order.
        one, two: the arms.
        current: number of pairs of cells now.
        fewest: number of pairs without which there is no test.
        folds: number of pairs per seed.
        shared: as for ``nominal_level``.
    """
    pairs: list[int] = []
    planned = None
    for look in looks:
        first, second = ({(s, f) for arm, s, f in look.cells if arm == name} for name in (one, two))
        count = len(first & second)
        if fewest <= count < current and (not pairs or count > pairs[-1]):
            pairs.append(count)
        if planned is None and fewest <= count <= current:
            planned = look.seeds * folds
    return PairLooks((*pairs, current), planned or current, folds, shared)
