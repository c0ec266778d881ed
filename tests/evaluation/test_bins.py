"""Bins against numpy.digitize, and the number of images in bins of equal mass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excite.evaluation.bins import bin_of, equal_mass, equal_width

CONFIDENCES = st.lists(st.floats(0, 1), min_size=1, max_size=60).map(np.array)


def test_edges_of_equal_width_divide_the_unit_interval() -> None:
    assert equal_width(4).tolist() == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(confidences=CONFIDENCES, bins=st.integers(1, 20))
def test_bins_are_those_of_digitize_closed_on_the_right(confidences: np.ndarray, bins: int) -> None:
    edges = equal_width(bins)
    expected = np.digitize(confidences, edges[1:-1], right=True)
    assert (bin_of(confidences, edges) == expected).all()


def test_both_ends_belong_to_a_bin() -> None:
    assert bin_of(np.array([0.0, 0.1, 0.5, 1.0]), equal_width(10)).tolist() == [0, 0, 4, 9]


def test_distinct_confidences_are_divided_equally() -> None:
    confidences = np.random.default_rng(0).random(300)
    edges = equal_mass(confidences, 15)
    assert len(edges) == 16
    assert (np.bincount(bin_of(confidences, edges), minlength=15) == 20).all()


@settings(max_examples=100, deadline=None)
@given(confidences=CONFIDENCES, bins=st.integers(1, 20))
def test_bins_of_equal_mass_cover_all_confidences_and_keep_equal_ones_together(
    confidences: np.ndarray, bins: int
) -> None:
    edges = equal_mass(confidences, bins)
    assert (edges[0], edges[-1]) == (0, 1)
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= bins + 1
    numbers = bin_of(confidences, edges)
    for value in np.unique(confidences):
        assert len(set(numbers[confidences == value])) == 1
