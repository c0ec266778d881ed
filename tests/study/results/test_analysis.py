"""What a study says: pairs, intervals, Holm and the sentence, on cells whose truth is known."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.evaluation.mrmc import crossed_mean
from excite.evaluation.predictions import Predictions
from excite.evaluation.sequential import nominal_level
from excite.study.results.analysis import SAME_IMAGES, Analysis, _arm
from excite.study.results.charts import forest_chart
from excite.study.results.comparisons import Comparison, compare_arms, holm
from excite.study.results.estimates import Cell, Estimate, estimate_of
from excite.study.results.sentences import bounds, power_text, reliance, verdict
from excite.study.store.store import Look

CLASSES = ("a", "b")
ARM = {"baseline": None, "parameters": 10, "multiply_adds": 20}


def cells_of(
    arm: str, right: np.ndarray, *, folds: np.ndarray | None = None, tested: np.ndarray | None = None
) -> list[Cell]:
    """Cells of S seeds and N images from (S, N) of who is right; with folds (S, N), one for each."""
    seeds, images = right.shape
    targets = np.arange(images) % 2
    paths = np.array([f"{n}.png" for n in range(images)], dtype=object)
    found = []
    for seed in range(seeds):
        numbers = (
            [np.arange(images)] if folds is None else [np.flatnonzero(folds[seed] == k) for k in range(5)]
        )
        if tested is not None:
            numbers = [tested[seed]]
        for fold, rows in enumerate(numbers):
            said = np.where(right[seed, rows], targets[rows], 1 - targets[rows])
            told = Predictions(targets[rows], np.eye(2)[said] * 0.8 + 0.1, CLASSES, None, tuple(paths[rows]))
            figures = {"accuracy": accuracy_score(targets[rows], said)}
            train = images - len(rows) if folds is not None or tested is not None else 4 * images
            result = {
                "figures": figures,
                "n": len(rows),
                "train": train,
                "memory": 3,
            }
            found.append(Cell(arm, seed, fold, result, told))
    return found


def outcomes(seed: int, shape: tuple[int, int], share: float = 0.8) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < share


def compared(one: list[Cell], two: list[Cell], folded: bool = False) -> Comparison:
    found = compare_arms([*one, *two], "one", "two", "accuracy", 5 if folded else None, 1)
    assert found is not None
    return holm([found], 1)[0]


def test_a_difference_is_that_of_the_pairs_that_both_have() -> None:
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


def test_other_splits_in_each_seed_go_by_the_corrected_t() -> None:
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
def test_too_few_seeds_say_nothing(seeds: int, reason: str) -> None:
    one, two = cells_of("one", outcomes(1, (seeds, 100))), cells_of("two", outcomes(2, (seeds, 100)))
    found = compared(one, two)
    assert found.estimate.low is None
    assert reason in str(found.estimate.reason)
    assert reason in verdict(found, "accuracy", 1)
    assert not found.significant


def test_arms_have_mean_deviation_and_costs() -> None:
    right = outcomes(8, (4, 150))
    found = _arm("one", ARM, cells_of("one", right), 5, "accuracy", False)
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(right.mean())
    assert found.deviation == pytest.approx(right.mean(axis=1).std(ddof=1))
    assert (found.cells, found.planned, found.memory) == (4, 5, 3)
    empty = _arm("two", ARM, [], 5, "accuracy", False)
    assert (empty.estimate, empty.deviation, empty.memory) == (None, None, None)


def test_the_forest_plot_holds_each_difference_with_its_interval() -> None:
    """The dots and whiskers of all rows lie on one scale; zero is where the line is drawn."""
    found = [
        compared(cells_of("one", outcomes(1, (6, 200))), cells_of("two", outcomes(2, (6, 200), share)))
        for share in (0.5, 0.9)
    ]
    chart = forest_chart(SimpleNamespace(comparisons=found, metric="accuracy"))  # type: ignore[arg-type]
    assert chart is not None
    values = [(one.estimate.value, one.estimate.low, one.estimate.high) for one in found]
    assert [row[2:5] for row in chart.rows] == values
    drawing = str(chart.svg)
    dots = [float(x) for x in re.findall(r'<circle [^>]*cx="([^"]+)"', drawing)]
    ends = [tuple(map(float, ends)) for ends in re.findall(r'whisker s0" d="M(\S+) \S+?H([\d.]+)M', drawing)]
    [zero] = re.findall(r'line zero" d="M(\S+) ', drawing)
    known = [0.0, *(number for row in values for number in row if number is not None)]
    drawn = [float(zero), *(x for dot, (low, high) in zip(dots, ends, strict=True) for x in (dot, low, high))]
    slope, start = np.polyfit(known, drawn, 1)
    np.testing.assert_allclose(drawn, slope * np.array(known) + start, atol=0.1)
    assert slope > 0
    assert forest_chart(SimpleNamespace(comparisons=[], metric="accuracy")) is None  # type: ignore[arg-type]


def uneven(arm: str, seed: int, *, folded: bool) -> list[Cell]:
    """Cells of four seeds with 30 groups of 1 to 30 images, each right or wrong as a whole."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(30), 1 + np.arange(30))
    targets, found = (groups % 2).astype(np.int64), []
    for number in range(4):
        right = random.random(30) < 0.7
        said = np.where(right[groups], targets, 1 - targets)
        for fold in range(3 if folded else 1):
            rows = np.flatnonzero((groups // 2 + number) % 3 == fold) if folded else np.arange(len(groups))
            names, paths = groups[rows].astype(str).astype(object), tuple(f"{row}.png" for row in rows)
            told = Predictions(targets[rows], np.eye(2)[said[rows]] * 0.8 + 0.1, CLASSES, names, paths)
            figures = {"balanced_accuracy": balanced_accuracy_score(targets[rows], said[rows])}
            result = {"figures": figures, "n": len(rows), "train": 2 * len(rows), "memory": 3}
            found.append(Cell(arm, number, fold, result, told))
    return found


@pytest.mark.parametrize("folded", [False, True])
def test_a_mean_is_the_mean_of_the_cells_figures_for_uneven_groups_too(folded: bool) -> None:
    one, two = uneven("one", 1, folded=folded), uneven("two", 2, folded=folded)
    means = [np.mean([cell.result["figures"]["balanced_accuracy"] for cell in own]) for own in (one, two)]
    estimates = [estimate_of(own, None, "balanced_accuracy", folded) for own in (one, two)]
    assert [estimate.method for estimate in estimates] == ["crossed"] * 2
    assert [estimate.value for estimate in estimates] == pytest.approx(means, abs=1e-12)
    difference = estimate_of(two, one, "balanced_accuracy", folded)
    assert difference.value == pytest.approx(means[1] - means[0], abs=1e-12)
    assert difference.low is not None
    assert difference.high is not None
    assert difference.low + difference.high == pytest.approx(2 * difference.value)


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
def test_holm_is_statsmodels() -> None:
    ps = [0.04, 0.01, 0.03, 0.9, 0.012]
    plain = compared(cells_of("one", outcomes(1, (3, 100))), cells_of("two", outcomes(2, (3, 100))))
    found = holm([replace(plain, sequential=p) for p in ps], len(ps))
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    shown, adjusted, _, _ = multitest.multipletests(ps, method="holm")
    assert [one.holm for one in found] == pytest.approx(adjusted)
    assert [one.significant for one in found] == list(shown)


@pytest.mark.parametrize(
    ("estimate", "more", "holm_p", "sentence"),
    [
        (
            Estimate(0.011, -0.004, 0.027, 0.15),
            14,
            0.15,
            "se raised balanced accuracy by 1.1 points against plain, 95 % interval \u22120.4 to 2.7: "
            "not significant; about 14 more seeds would detect a difference of this size.",
        ),
        (Estimate(0.02, 0.01, 0.03, 0.001), 0, 0.001, "significantly better (p = 0.001)."),
        (Estimate(-0.02, -0.03, -0.01, 0.0001), 0, 0.0001, "lowered balanced accuracy by 2.0 points"),
        (
            Estimate(0.01, 0.001, 0.02, 0.03),
            None,
            0.09,
            "not significant among 3 comparisons (p = 0.090); no number",
        ),
        (Estimate(0.0, reason="too few groups"), None, None, "no verdict yet, too few groups."),
    ],
)
def test_the_verdict_is_one_plain_sentence(
    estimate: Estimate, more: int | None, holm_p: float | None, sentence: str
) -> None:
    one = Comparison("plain", "se", estimate, estimate, None, 5, 5, 100, 100, holm=holm_p, more_seeds=more)
    said = verdict(one, "balanced_accuracy", 3)
    assert sentence in said
    assert said.count(". ") == 0


def test_less_log_loss_is_better() -> None:
    estimate = Estimate(-0.1, -0.2, -0.05, 0.001)
    one = Comparison("plain", "se", estimate, estimate, None, 5, 5, 100, 100, holm=0.001)
    assert "lowered log loss by 0.100 against plain" in verdict(one, "log_loss", 1)
    assert "significantly better" in verdict(one, "log_loss", 1)


@pytest.mark.parametrize(
    ("images", "folded", "said"), [(60, True, True), (200, True, False), (60, False, False)]
)
def test_few_groups_in_folds_are_warned_of(images: int, folded: bool, said: bool) -> None:
    folds = np.tile(np.arange(images) % 5, (3, 1)) if folded else None
    one, two = (
        cells_of(arm, outcomes(seed, (3, images)), folds=folds) for seed, arm in enumerate(("one", "two"))
    )
    cells = [*one, *two]
    pairs = [compared(one, two, folded)]
    analysis = Analysis("accuracy", [], pairs, 1, cells, SAME_IMAGES, [], len(cells), len(cells))
    assert (
        any(f"only {images} groups for cross-validation" in sentence for sentence in reliance(analysis))
        == said
    )


def test_nothing_beyond_the_metrics_range_is_said() -> None:
    estimate = Estimate(0.25, -1.5, 2.0, 0.5, "corrected")
    one = Comparison("plain", "se", estimate, estimate, None, 2, 2, 4, 4, holm=0.5, smallest=math.inf)
    assert power_text(one, "accuracy") == (
        "2 seeds and 4 groups detect no possible difference in accuracy with 80 % power; "
        "add groups of images or seeds"
    )
    assert bounds(-1.5, 2.0, "accuracy") == "\u2212100.0 to 100.0"
    assert bounds(-1.5, 2.0, "mcc") == "\u22121.500 to 2.000"
    assert bounds(-1.5, 9.0, "log_loss") == "\u22121.500 to 9.000"


def test_the_smallest_difference_is_bounded_by_the_metric() -> None:
    """Two seeds of different splits with four images each; the metric has 100 points."""
    tested = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])
    one, two = (
        cells_of(arm, outcomes(seed, (2, 8), 0.5), tested=tested) for arm, seed in (("one", 1), ("two", 5))
    )
    found = compare_arms([*one, *two], "one", "two", "accuracy", None, 1)
    assert found is not None
    assert found.smallest == math.inf
