"""Effective sizes against closed forms and simulated correlations."""

from __future__ import annotations

import numpy as np
import pytest

from excite.evaluation.effective_sample_size import class_freedom, effective_size, intraclass_correlation


def test_the_effective_size_follows_from_the_correlation() -> None:
    sizes = np.array([5, 5, 5, 5, 0])
    for correlation, images in ((0.0, 20), (1.0, 4), (0.5, 20 / 3)):
        found = effective_size(sizes, correlation)
        assert found.images == pytest.approx(images)
        assert found.freedom == pytest.approx(3)
    assert effective_size(np.array([100, 1, 1]), 1.0).freedom < 0.01  # one group has all the variance
    assert effective_size(np.zeros(3), 0.5).images == 0


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.8])
def test_the_intraclass_correlation_is_that_of_the_simulation(correlation: float) -> None:
    random = np.random.default_rng(0)
    samples = []
    for groups, shift in ((400, 0.0), (50, 3.0)):
        codes = np.repeat(np.arange(groups), random.integers(1, 9, groups))
        shared, own = random.normal(size=groups)[codes], random.normal(size=len(codes))
        samples.append((shift + np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own, codes))
    assert intraclass_correlation(samples) == pytest.approx(correlation, abs=0.05)
    assert intraclass_correlation([(random.normal(size=5), np.arange(5))]) == 0


def test_the_degrees_of_freedom_are_those_of_the_class_that_has_the_variance() -> None:
    true = np.zeros((2, 100))
    true[0, :94], true[1, 94:] = 1, 1
    assert class_freedom(true[1], true, 0.0) == pytest.approx(5 + 3)
    assert class_freedom(true[0], true, 0.0) == pytest.approx(93 + 3)
    assert 8 < class_freedom(true[0] / 94 + true[1] / 6, true, 0.0) < 96
