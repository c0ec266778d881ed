"""The looks that tested a pair of arms, and the levels that they leave for later ones."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.evaluation.sequential import nominal_level
from excite.study.results.pair_looks import PairLooks, pair_looks
from excite.study.store.store import Look


def look(seeds_of: dict[str, int], *, planned: int = 5, folds: int = 1) -> Look:
    """A look at so many seeds of each arm."""
    cells = {
        (arm, seed, fold) for arm, seeds in seeds_of.items() for seed in range(seeds) for fold in range(folds)
    }
    return Look(0.0, planned, frozenset(cells))


def both(count: int) -> dict[str, int]:
    return {"plain": count, "se": count}


def test_pairs_are_the_cells_that_both_arms_had_at_each_look() -> None:
    looks = [look(both(3)), look({"plain": 6, "se": 4}), look(both(7))]
    found = pair_looks(looks, "plain", "se", 7, fewest=3, folds=1, shared=0.0)
    assert (found.pairs, found.planned) == ((3, 4, 7), 5)


def test_looks_without_a_test_of_this_pair_do_not_count() -> None:
    looks = [look(both(2)), look({"plain": 5, "eca": 5}), look(both(4)), look(both(4))]
    found = pair_looks(looks, "plain", "se", 6, fewest=3, folds=1, shared=0.0)
    assert found.pairs == (4, 6)  # two tested nothing, one was at another pair, and equal states are one look


def test_without_looks_the_current_cells_are_the_planned_ones() -> None:
    assert pair_looks([], "plain", "se", 4, fewest=3, folds=1, shared=0.0) == PairLooks((4,), 4)


def test_folds_multiply_the_planned_pairs() -> None:
    found = pair_looks([look(both(2), planned=3, folds=5)], "plain", "se", 15, fewest=2, folds=5, shared=0.0)
    assert (found.pairs, found.planned) == ((10, 15), 15)


def test_an_adjusted_p_is_significant_exactly_if_the_p_is_below_the_level() -> None:
    """Two ways to the same decision: the level of the last look, and the p-value adjusted for all looks."""
    looks = PairLooks((5, 10), 5)
    level = looks.level(0.05)
    assert level < 0.05
    assert looks.adjusted(0.98 * level) < 0.05 < looks.adjusted(1.02 * level)


def test_a_later_look_has_the_level_of_the_looks_with_it() -> None:
    looks = PairLooks((5,), 5)
    assert looks.level_with(10, 0.05) == pytest.approx(nominal_level([5, 10], 5, 0.05))
    assert looks.level_with(3, 0.05) == pytest.approx(
        nominal_level([5, 6], 5, 0.05)
    )  # at least one more pair
