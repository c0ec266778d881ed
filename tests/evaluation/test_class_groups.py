"""A class of few groups: a warning, or the reason why there is no interval."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from excite.evaluation.class_groups import class_reason, class_warning, rarer_class
from excite.evaluation.measure import measure
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums
from tests.evaluation.simulated import simulate


def few_of_a_class(count: int, size: int = 1) -> Predictions:
    """The images of 100 groups, but only of the first ``count`` of class b."""
    one = simulate(np.random.default_rng(0), 100, size=size)
    first = np.unique(one.group_codes[one.targets == 1])[:count]
    return one.take(np.flatnonzero((one.targets == 0) | np.isin(one.group_codes, first)))


def test_a_class_of_few_groups_is_named_in_a_warning_or_as_the_reason() -> None:
    four = measure(few_of_a_class(4))
    assert four["low_group_count"] == ["a", "b"]  # what tells one from the other are the same 4 groups
    named = "4 groups of class 'b'; about 5 are needed"
    for metric in (four["auroc"], four["balanced_accuracy"], four["classes"]["b"]["auroc"]):
        assert metric["low"] < metric["value"] <= metric["high"]
        assert metric["warning"] == named
    assert "warning" not in four["accuracy"]
    two = measure(few_of_a_class(2))
    reason = "2 groups of class 'b' are too few; at least 3 are needed"
    for metric in (two["auroc"], two["balanced_accuracy"], two["mcc"], two["classes"]["b"]["f1"]):
        assert metric["low"] is None
        assert metric["reason"] == reason
    assert two["classes"]["b"]["sensitivity"]["low"] is not None  # Wilson's is honest about 2
    assert "warning" not in measure(few_of_a_class(5))["auroc"]


@settings(max_examples=80, deadline=None)
@given(
    images=st.integers(2, 30), groups=st.integers(1, 12), classes=st.integers(2, 4), seed=st.integers(0, 9999)
)
def test_the_rarer_class_is_that_of_a_count_of_groups(
    images: int, groups: int, classes: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    targets, codes = random.integers(0, classes, images), random.integers(0, groups, images)
    names = tuple("abcd"[:classes])
    one = Predictions(targets, np.full((images, classes), 1 / classes), names, codes.astype(str))
    inside = {name: set(codes[targets == number]) for number, name in enumerate(names)}
    outside = {name: set(codes[targets != number]) for number, name in enumerate(names)}
    counts = {name: min(len(inside[name]), len(outside[name])) for name in names if inside[name]}
    for index in (None, 0):
        fewest, label = rarer_class(one, GroupSums(one, ranking=False), index)
        assert fewest == (min(counts.values()) if index is None else min(len(inside["a"]), len(outside["a"])))
        assert label is None or len(inside[label]) == fewest


def test_a_mean_over_several_classes_has_an_interval_even_if_one_class_is_rare() -> None:
    targets = np.array([0] * 40 + [1] * 40 + [2])
    one = Predictions(targets, np.full((81, 3), 1 / 3), ("a", "b", "c"))
    table = GroupSums(one, ranking=False)
    assert class_reason(one, table) is None
    assert class_reason(one, table, 2) == "1 group of class 'c' is too few; at least 3 are needed"
    assert class_warning(one, table) == "1 group of class 'c'; about 5 are needed"
    assert class_warning(one, table, 0) is None
