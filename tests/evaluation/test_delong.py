"""DeLong's test against many samples, the bootstrap, and its level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from excite.errors import ExciteError
from excite.evaluation.comparison import compare
from excite.evaluation.delong import delong
from excite.evaluation.predictions import Predictions
from tests.evaluation.simulated import simulate
from tests.evaluation.simulated_pairs import GROUPS, IMAGES, pair


def test_delongs_error_is_that_of_many_samples_and_of_the_bootstrap() -> None:
    random = np.random.default_rng(0)
    for settings in ({}, {"size": 4, "alike": 1.0}):
        found = [delong(*pair(random, 100, **settings)) for _ in range(200)]
        spread = np.std([one.value for one in found])
        assert np.mean([one.standard_error for one in found]) == pytest.approx(spread, rel=0.1)
    first, second = pair(random, 300, size=3, alike=1.0, better=0.5)
    resampled = compare(first, second, ["auroc"], resamples=2000)["auroc"]
    exact = delong(first, second)
    width = (exact.high or 0) - (exact.low or 0)
    assert resampled.low == pytest.approx(exact.low, abs=0.1 * width)
    assert resampled.high == pytest.approx(exact.high, abs=0.1 * width)


def test_delong_needs_a_class_and_images_on_both_sides() -> None:
    three = simulate(np.random.default_rng(0), 40, classes=3)
    with pytest.raises(ExciteError, match="needs a positive class"):
        delong(three, three)
    assert delong(three, three, "c").label == "c"
    one = Predictions(np.array([0, 0, 0, 1, 1]), np.full((5, 2), 0.5), ("a", "b"))
    with pytest.raises(ExciteError, match="at least 3 groups with 'b'"):
        delong(one, one)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [IMAGES, GROUPS], ids=["200 images", "60 groups"])
def test_delongs_test_holds_its_level_for_equal_classifiers(settings: dict[str, Any]) -> None:
    random = np.random.default_rng(5)
    p_values = [delong(*pair(random, **settings)).p or 1 for _ in range(1000)]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.017)
