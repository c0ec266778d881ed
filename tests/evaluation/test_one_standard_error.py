"""The first candidate is chosen unless another one is better by more than one standard error."""

from __future__ import annotations

import numpy as np

from excite.evaluation.one_standard_error import first_within_error


def test_the_start_is_chosen_unless_another_candidate_is_better_by_one_standard_error() -> None:
    groups = np.repeat(np.arange(20), 10)
    random = np.random.default_rng(0)
    start = random.uniform(0.4, 0.8, 200)
    better = start - 0.2 + random.normal(0, 0.05, 200)
    assert first_within_error(np.stack([start, start - 0.1, better]), groups) == 2
    # One group in two is as much worse as the other is better, but for a little.
    mixed = start + np.repeat(np.where(np.arange(20) % 2, 0.3, -0.31), 10)
    assert mixed.mean() < start.mean()
    assert first_within_error(np.stack([start, mixed]), groups) == 0
    # With independent images, the same differences would be significant.
    some = start + np.repeat(np.where(np.arange(20) % 2, 0.3, -0.36), 10)
    assert first_within_error(np.stack([start, some]), np.arange(200)) == 1
    assert first_within_error(np.stack([start, some]), groups) == 0
    assert first_within_error(np.stack([start, start + 0.1]), groups) == 0
