"""The order statistic by groups, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excite.evaluation.group_quantile import groups_needed, lower_quantile, mass_below


@settings(max_examples=100, deadline=None)
@given(
    groups=st.integers(1, 30),
    size=st.integers(1, 5),
    level=st.sampled_from([0.5, 0.8, 0.9, 0.95]),
    distinct=st.sampled_from([3, 1000]),
    seed=st.integers(0, 10_000),
)
def test_it_is_the_quantile_of_the_weighted_scores_and_one_at_minus_infinity(
    groups: int, size: int, level: float, distinct: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(groups), random.integers(1, size + 1, groups))
    scores = random.integers(0, distinct, len(codes)).astype(float)
    weights = np.array([1 / (codes == code).sum() for code in codes])
    allowed = [s for s in scores if 1 + weights[scores < s].sum() <= (1 - level) * (groups + 1) + 1e-9]
    found, guaranteed = lower_quantile(scores, codes, level)
    assert found == (max(allowed) if allowed else scores.min())
    missed = (1 + weights[scores < found].sum()) / (groups + 1)
    assert guaranteed == pytest.approx(1 - missed, abs=1e-9)
    needed = groups_needed(level)
    assert needed is not None
    assert bool(allowed) == (groups >= needed)


def test_no_number_of_groups_guarantees_everything() -> None:
    assert groups_needed(1.0) is None
    assert lower_quantile(np.arange(9.0), np.arange(9), 1.0) == (0.0, 0.9)


def test_every_group_has_the_same_weight() -> None:
    scores, codes = np.array([0.1, 0.2, 0.3, 0.4, 0.9]), np.array([0, 0, 0, 0, 1])
    assert mass_below(scores, codes) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
