"""Net benefit against its formula, and what a decision curve accepts."""

from __future__ import annotations

import numpy as np
import pytest

from excite.errors import ExciteError
from excite.evaluation.decision_curve import decision_curve
from tests.evaluation.simulated import simulate


def test_net_benefit_is_vickers_formula() -> None:
    test = simulate(np.random.default_rng(0), 120, size=2, alike=1)
    curve = decision_curve(test, resamples=300)
    ill, scores = test.targets == 1, test.probabilities[:, 1]
    for at, model, low, high, everyone in zip(
        curve.thresholds, curve.model, curve.low, curve.high, curve.everyone, strict=True
    ):
        tp, fp = (scores[ill] >= at).sum(), (scores[~ill] >= at).sum()
        assert model == pytest.approx((tp - fp * at / (1 - at)) / len(test), abs=1e-12)
        assert everyone == pytest.approx(ill.mean() - (1 - ill.mean()) * at / (1 - at), abs=1e-12)
        if low is not None and high is not None:
            assert low <= model <= high
    assert sum(low is not None for low in curve.low) > 80
    assert (curve.n, curve.groups) == (len(test), 120)


def test_decision_curves_are_of_one_class_and_of_thresholds_between_0_and_1() -> None:
    three = simulate(np.random.default_rng(0), 40, classes=3)
    with pytest.raises(ExciteError, match="needs a positive class"):
        decision_curve(three)
    assert decision_curve(three, "b", resamples=20).label == "b"
    with pytest.raises(ExciteError, match="must be in"):
        decision_curve(three, "b", thresholds=np.array([0.5, 1.0]))
