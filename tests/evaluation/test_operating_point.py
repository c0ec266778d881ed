"""Thresholds against order statistics, scikit-learn's ROC curve, and plain counting."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_curve

from excite.errors import ExciteError
from excite.evaluation.operating_point import at_threshold, choose_threshold
from excite.evaluation.predictions import Predictions
from tests.evaluation.simulated import messy, simulate


@settings(max_examples=100, deadline=None)
@given(
    images=st.integers(2, 60),
    levels=st.sampled_from([1, 2, 5, 1000]),
    level=st.sampled_from([0.01, 0.5, 0.8, 0.9, 0.95, 1.0]),
    seed=st.integers(0, 10_000),
)
def test_the_threshold_is_the_order_statistic(images: int, levels: int, level: float, seed: int) -> None:
    """Of n positive images, the ⌈level (n + 1)⌉-th probability from above, or the last one."""
    probabilities, targets = messy(np.random.default_rng(seed), images, 2, levels=levels)
    targets[:2] = 0, 1
    validation = Predictions(targets, probabilities, ("well", "ill"))
    ill = np.sort(probabilities[targets == 1, 1])[::-1]
    well = np.sort(probabilities[targets == 0, 1])
    one = choose_threshold(validation, "ill", sensitivity=level)
    rank = math.ceil(round(level * (len(ill) + 1), 9))
    assert one.threshold == ill[min(rank, len(ill)) - 1]
    assert one.reached == (rank <= len(ill))
    two = choose_threshold(validation, "ill", specificity=level)
    rank = math.ceil(round(level * (len(well) + 1), 9))
    last = well[min(rank, len(well)) - 1]
    higher = probabilities[probabilities[:, 1] > last, 1]
    assert two.threshold > last
    assert not len(higher) or two.threshold <= higher.min()
    assert two.reached == (rank <= len(well))
    false_alarms, found, _ = roc_curve(targets, probabilities[:, 1], drop_intermediate=False)
    assert one.specificity == pytest.approx(1 - false_alarms[found >= one.sensitivity - 1e-9].min())
    assert two.sensitivity == pytest.approx(found[1 - false_alarms >= two.specificity - 1e-9].max())
    for point in (one, two):
        assert point.reached == (point.guaranteed >= level - 1e-9)
        assert point.reached == (point.criterion_groups >= (point.groups_needed or np.inf))
        same = at_threshold(validation, "ill", point.threshold)
        assert same["sensitivity"]["value"] == point.sensitivity
        assert same["specificity"]["value"] == point.specificity


@pytest.mark.parametrize(("groups", "size"), [(10, 1), (20, 1), (50, 1), (20, 4)])
def test_on_new_images_the_expected_sensitivity_is_what_is_guaranteed(groups: int, size: int) -> None:
    """Ten positive images can guarantee 10 / 11; the usual choice for 95 % falls short with any number."""
    random = np.random.default_rng(0)
    found, guaranteed = [], set()
    for _ in range(600):
        shared = np.repeat(random.normal(size=groups), size)
        score = 1 / (1 + np.exp(-shared - (size > 1) * random.normal(size=groups * size)))
        rows = np.concatenate([np.stack([1 - score, score], axis=1), [[1.0, 0.0]]])
        names = np.append(np.repeat(np.arange(groups), size).astype(str), "negative")
        validation = Predictions(np.array([1] * len(score) + [0]), rows, ("well", "ill"), names)
        point = choose_threshold(validation, "ill", sensitivity=0.95)
        new = random.normal(size=2000) + (size > 1) * random.normal(size=2000)
        found.append((1 / (1 + np.exp(-new)) >= point.threshold).mean())
        guaranteed.add(point.guaranteed)
        assert (point.criterion_groups, point.reached) == (groups, groups >= 19)
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) > min(guaranteed) - 3 * error
    if size == 1:
        rank = min(math.ceil(0.95 * (groups + 1)), groups)
        assert guaranteed == {round(rank / (groups + 1), 12)}
        assert np.mean(found) == pytest.approx(min(guaranteed), abs=4 * error)


def test_copies_of_an_image_count_once() -> None:
    random = np.random.default_rng(0)
    score = random.random(60)
    targets = (np.arange(60) % 2).astype(int)
    rows = np.stack([1 - score, score], axis=1)
    once = Predictions(targets, rows, ("well", "ill"))
    copied = once.take(np.repeat(np.arange(60), 7))
    names = np.repeat(np.arange(60), 7).astype(str)
    grouped = Predictions(copied.targets, copied.probabilities, copied.classes, names)
    first, second = (choose_threshold(each, "ill", sensitivity=0.9) for each in (once, grouped))
    assert (first.threshold, first.guaranteed) == (second.threshold, second.guaranteed)


def test_the_test_set_is_measured_at_the_threshold_of_the_validation_set() -> None:
    random = np.random.default_rng(0)
    validation, test = simulate(random, 800), simulate(random, 900)
    point = choose_threshold(validation, "b", sensitivity=0.9)
    result = at_threshold(test, point.label, point.threshold)
    json.dumps(result, allow_nan=False)
    called = test.probabilities[:, 1] >= point.threshold
    ill = test.targets == 1
    assert (result["n"], result["groups"]) == (900, 900)
    assert result["tp"] == (called & ill).sum()
    assert result["tp"] + result["fp"] + result["fn"] + result["tn"] == 900
    assert result["ppv"]["value"] == pytest.approx(ill[called].mean())
    assert result["npv"]["value"] == pytest.approx(1 - ill[~called].mean())
    assert result["accuracy"]["value"] == pytest.approx((called == ill).mean())
    expected = stats.binomtest(int(result["tp"]), int(ill.sum())).proportion_ci(method="wilson")
    assert result["sensitivity"]["low"] == pytest.approx(expected.low, abs=1e-9)
    assert result["sensitivity"]["high"] == pytest.approx(expected.high, abs=1e-9)
    assert result["sensitivity"]["low"] < 0.9 < result["sensitivity"]["high"]


def test_proportions_without_images_are_not_defined() -> None:
    test = Predictions(np.zeros(3, dtype=int), np.array([[0.8, 0.2]] * 3), ("well", "ill"))
    result = at_threshold(test, "ill", 0.5)
    assert result["sensitivity"] == {"value": None, "reason": "no image belongs to this class"}
    assert result["ppv"] == {"value": None, "reason": "no image reaches the threshold"}
    assert result["specificity"]["value"] == 1


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({}, "a sensitivity or a specificity"),
        ({"sensitivity": 0.9, "specificity": 0.9}, "a sensitivity or a specificity"),
        ({"sensitivity": 90}, "sensitivity must be in \\(0, 1\\], got 90"),
        ({"specificity": 0}, "specificity must be in"),
    ],
)
def test_a_criterion_out_of_range_is_refused(criteria: dict[str, float], message: str) -> None:
    with pytest.raises(ExciteError, match=message):
        choose_threshold(simulate(np.random.default_rng(0), 20), "a", **criteria)


def test_a_class_that_is_unknown_or_without_images_is_refused() -> None:
    one = Predictions(np.zeros(4, dtype=int), np.full((4, 2), 0.5), ("well", "ill"))
    with pytest.raises(ExciteError, match="did you mean 'ill'"):
        choose_threshold(one, "il", sensitivity=0.9)
    with pytest.raises(ExciteError, match="none of the validation images belong to 'ill'"):
        choose_threshold(one, "ill", sensitivity=0.9)
    with pytest.raises(ExciteError, match="all of the validation images belong to 'well'"):
        choose_threshold(one, "well", sensitivity=0.9)
