"""Differences of paired cells against formulas by hand, and Holm's adjustment against statsmodels."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.evaluation.mrmc import crossed_mean
from excite.evaluation.sequential import nominal_level
from excite.study.results.comparisons import compare_arms, holm
from excite.study.results.sentences import verdict
from excite.study.store.store import Look
from tests.study.results.simulated_cells import cells_of, compared, outcomes


def test_a_difference_is_the_mean_over_the_cells_that_both_arms_have() -> None:
    one, two = cells_of("one", outcomes(1, (5, 200))), cells_of("two", outcomes(2, (5, 200), 0.9))
    found = compared(one[:4], two[1:])
    expected = np.mean(
        [
            t.result["figures"]["accuracy"] - o.result["figures"]["accuracy"]
            for o, t in zip(one[1:4], two[1:4], strict=True)
        ]
    )
    assert (found.units, found.seeds, found.n, found.groups) == (3, 3, 200, 200)
    assert found.estimate.value == pytest.approx(expected)
    assert found.estimate.method == "crossed"
    assert found.estimate.low < expected < found.estimate.high  # type: ignore[operator]
    assert found.swap_test is not None
    assert found.swap_test.value == pytest.approx(expected)


def test_other_splits_for_each_seed_use_the_corrected_t_test() -> None:
    """Nadeau and Bengio's variance, by hand."""
    random = np.random.default_rng(3)
    tested = np.stack([random.permutation(300)[:60] for _ in range(6)])
    one = cells_of("one", outcomes(4, (6, 300)), tested=tested)
    two = cells_of("two", outcomes(5, (6, 300)), tested=tested)
    found = compared(one, two)
    gaps = np.array(
        [
            t.result["figures"]["accuracy"] - o.result["figures"]["accuracy"]
            for o, t in zip(one, two, strict=True)
        ]
    )
    error = np.sqrt((1 / 6 + 60 / 240) * gaps.var(ddof=1))
    assert found.estimate.method == "corrected"
    assert found.estimate.value == pytest.approx(gaps.mean())
    quantile = stats.t.ppf(1 - 0.04 / 2, 5)  # 4 of the 5 % are spent at the plan
    assert found.estimate.high - found.estimate.low == pytest.approx(2 * quantile * error)  # type: ignore[operator]


def test_folds_together_test_the_same_images_in_each_seed() -> None:
    """The pseudo-values of a mean over folds, by hand: deviations within the folds of 40 images."""
    folds = np.stack([np.random.default_rng(s).permutation(200) % 5 for s in range(3)])
    one = cells_of("one", outcomes(6, (3, 200)), folds=folds)
    two = cells_of("two", outcomes(7, (3, 200)), folds=folds)
    found = compared(one, two, folded=True)
    assert (found.units, found.seeds, found.n) == (15, 3, 200)
    assert found.estimate.method == "crossed"
    assert found.corrected.method == "corrected"
    gaps = outcomes(7, (3, 200)).astype(float) - outcomes(6, (3, 200))
    table = np.empty_like(gaps)
    for row, fold, values in zip(gaps, folds, table, strict=True):
        for k in range(5):
            values[fold == k] = row.mean() + 199 / 5 / 39 * (row[fold == k] - row[fold == k].mean())
    whole = crossed_mean(table, overlap=1 / 4, level=0.96)  # 4 of the 5 % are spent at the plan
    assert found.estimate.value == pytest.approx(gaps.mean())
    assert found.estimate.low == pytest.approx(whole.low)
    assert found.estimate.high == pytest.approx(whole.high)
    # A seed that lacks a fold does not test the same images: it counts where all of its pairs are there.
    assert compared(one[:-1], two, folded=True).units == 14


@pytest.mark.parametrize(
    ("seeds", "reason"),
    [(1, "one training does not show"), (2, "2 seeds on one set of test images; at least 3 are needed")],
)
def test_too_few_seeds_give_no_interval(seeds: int, reason: str) -> None:
    one, two = cells_of("one", outcomes(1, (seeds, 100))), cells_of("two", outcomes(2, (seeds, 100)))
    found = compared(one, two)
    assert found.estimate.low is None
    assert reason in str(found.estimate.reason)
    assert reason in verdict(found, "accuracy", 1)
    assert not found.significant


def test_holm_counts_the_comparisons_of_the_plan() -> None:
    """One of three planned pairs has cells: p = 0.03 is not significant, now or when the others have some."""
    plain = compared(cells_of("one", outcomes(1, (3, 100))), cells_of("two", outcomes(2, (3, 100))))
    [alone] = holm([replace(plain, sequential=0.03)], 3)
    assert alone.holm == pytest.approx(0.09)
    assert not alone.significant
    with_others = holm([replace(plain, sequential=p) for p in (0.03, 0.5, 0.9)], 3)
    assert with_others[0].holm == alone.holm


def looks_at(arms: tuple[str, ...], *seeds: int, planned: int = 5) -> list[Look]:
    return [
        Look(float(n), planned, frozenset((arm, seed, 0) for arm in arms for seed in range(n))) for n in seeds
    ]


def test_each_look_at_a_pair_lowers_the_level_of_the_next() -> None:
    """p at 10 seeds is compared with what Lan and DeMets leave for it after a look at 5."""
    cells = [*cells_of("one", outcomes(1, (10, 200))), *cells_of("two", outcomes(2, (10, 200), 0.86))]
    found = [
        compare_arms(cells, "one", "two", "accuracy", None, 1, looks_at(("one", "two"), *seeds))
        for seeds in ((10,), (5, 10), (2, 5, 10))
    ]
    assert [one.looks.pairs for one in found if one and one.looks] == [(10,), (5, 10), (5, 10)]  # 2 test none
    first, second, third = found
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.estimate.p == second.estimate.p
    assert first.sequential < second.sequential == third.sequential  # type: ignore[operator]
    assert first.estimate.low > second.estimate.low  # type: ignore[operator]
    assert "95 % interval over 2 looks" in verdict(holm([second], 1)[0], "accuracy", 1)
    other = compare_arms(cells, "one", "two", "accuracy", None, 1, looks_at(("one", "three"), 5, 10))
    assert other is not None
    assert other.looks is not None
    assert other.looks.pairs == (10,)  # looks at other pairs do not count


@pytest.mark.slow
def test_further_seeds_are_those_that_the_next_look_needs() -> None:
    cells = [*cells_of("one", outcomes(1, (5, 200))), *cells_of("two", outcomes(2, (5, 200), 0.82))]
    found = compare_arms(cells, "one", "two", "accuracy", None, 1, looks_at(("one", "two"), 5))
    assert found is not None
    assert found.more_seeds is not None
    studies = found.estimate.studies
    assert studies is not None
    needed = 5 + found.more_seeds
    powers = [
        studies(n, nominal_level([5, n], 5, 0.05)).power(found.estimate.value) for n in (needed - 1, needed)
    ]
    assert powers[0] < 0.8 <= powers[1]


@pytest.mark.slow
def test_adjusted_p_values_are_those_of_statsmodels() -> None:
    ps = [0.04, 0.01, 0.03, 0.9, 0.012]
    plain = compared(cells_of("one", outcomes(1, (3, 100))), cells_of("two", outcomes(2, (3, 100))))
    found = holm([replace(plain, sequential=p) for p in ps], len(ps))
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    shown, adjusted, _, _ = multitest.multipletests(ps, method="holm")
    assert [one.holm for one in found] == pytest.approx(adjusted)
    assert [one.significant for one in found] == list(shown)


def test_the_smallest_difference_is_bounded_by_the_metric() -> None:
    """Two seeds of different splits with four images each; the metric has 100 points."""
    tested = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])
    one, two = (
        cells_of(arm, outcomes(seed, (2, 8), 0.5), tested=tested) for arm, seed in (("one", 1), ("two", 5))
    )
    found = compare_arms([*one, *two], "one", "two", "accuracy", None, 1)
    assert found is not None
    assert found.smallest == math.inf
