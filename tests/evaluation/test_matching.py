"""Repeats of a cross-validation are averaged image by image."""

from __future__ import annotations

import numpy as np
import pytest

from excite.errors import ExciteError
from excite.evaluation.matching import mean_of_repeats
from excite.evaluation.predictions import Predictions


def test_each_image_has_the_mean_of_what_was_said_of_it() -> None:
    random = np.random.default_rng(0)
    shares, others = random.dirichlet([1, 1, 1], 5), random.dirichlet([1, 1, 1], 5)
    targets, names, classes = np.array([0, 1, 2, 0, 1]), ("v", "w", "x", "y", "z"), ("a", "b", "c")
    order = np.array([3, 1, 4, 0, 2])
    first = Predictions(targets, shares, classes, paths=names)
    second = Predictions(targets[order], others[order], classes, paths=tuple(names[row] for row in order))
    mean = mean_of_repeats([first, second])
    assert mean.paths == names
    assert mean.probabilities == pytest.approx((shares + others) / 2)
    assert (mean.targets == targets).all()
    with pytest.raises(ExciteError, match="contain different images"):
        mean_of_repeats([first, second.take(np.arange(4))])
    with pytest.raises(ExciteError, match="no repeats"):
        mean_of_repeats([])
