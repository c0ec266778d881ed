"""The verdict of a pair, its power, and what the reader must know about a study."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.study.results.analysis import SAME_IMAGES, Analysis
from excite.study.results.comparisons import Comparison
from excite.study.results.estimates import Estimate
from excite.study.results.sentences import bounds, power_text, reliance, verdict
from tests.study.results.simulated_cells import cells_of, compared, outcomes


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
def test_few_groups_in_folds_cause_a_warning(images: int, folded: bool, said: bool) -> None:
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


def test_no_bound_or_difference_exceeds_the_range_of_the_metric() -> None:
    estimate = Estimate(0.25, -1.5, 2.0, 0.5, "corrected")
    one = Comparison("plain", "se", estimate, estimate, None, 2, 2, 4, 4, holm=0.5, smallest=math.inf)
    assert power_text(one, "accuracy") == (
        "2 seeds and 4 groups detect no possible difference in accuracy with 80 % power; "
        "add groups of images or seeds"
    )
    assert bounds(-1.5, 2.0, "accuracy") == "\u2212100.0 to 100.0"
    assert bounds(-1.5, 2.0, "mcc") == "\u22121.500 to 2.000"
    assert bounds(-1.5, 9.0, "log_loss") == "\u22121.500 to 9.000"
