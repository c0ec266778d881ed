"""Leaks and label conflicts against a brute-force comparison of every two images."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from excite.audit.leaks import count_near_duplicates, find_leaks, label_conflicts

rows = st.lists(
    st.tuples(st.sampled_from(["train", "val", "test", ""]), st.integers(0, 8), st.sampled_from("ab")),
    max_size=40,
)


@given(rows)
def test_leaks_agree_with_a_comparison_of_every_two_images(rows: list) -> None:
    splits, groups = [row[0] for row in rows], [row[1] for row in rows]
    leaking_groups, affected = set(), set()
    for a, b in combinations(range(len(rows)), 2):
        if groups[a] == groups[b] and splits[a] and splits[b] and splits[a] != splits[b]:
            leaking_groups.add(groups[a])
            affected |= {a, b}
    found = find_leaks(splits, groups)
    assert found.groups == tuple(sorted(leaking_groups))
    assert bool(found) == bool(leaking_groups)
    for split in ("train", "val", "test"):
        assert found.totals.get(split, 0) == splits.count(split)
        assert found.images.get(split, 0) == sum(splits[row] == split for row in affected)
        if splits.count(split):
            assert found.fraction(split) == found.images[split] / splits.count(split)


@given(rows)
def test_near_duplicates_agree_with_a_comparison_of_all_pairs(rows: list) -> None:
    splits, groups = [row[0] for row in rows], [row[1] for row in rows]
    expected = sum(
        splits[a] == "test" and any(splits[b] == "train" and groups[a] == groups[b] for b in range(len(rows)))
        for a in range(len(rows))
    )
    assert count_near_duplicates(splits, groups) == expected


@given(rows)
def test_conflicts_agree_with_a_comparison_of_every_two_images(rows: list) -> None:
    photos, labels = [row[1] for row in rows], [row[2] for row in rows]
    expected = {
        photos[a]
        for a, b in combinations(range(len(rows)), 2)
        if photos[a] == photos[b] and labels[a] != labels[b]
    }
    found = label_conflicts(labels, photos)
    assert {photos[conflict.images[0]] for conflict in found} == expected
    for conflict in found:
        assert list(conflict.images) == [
            r for r, photo in enumerate(photos) if photo == photos[conflict.images[0]]
        ]
        assert conflict.labels == {name: sum(labels[r] == name for r in conflict.images) for name in "ab"}


def test_the_document_has_the_fixed_keys() -> None:
    document = find_leaks(["train", "test", "test", "train"], [0, 0, 1, 2]).to_dict()
    assert document["groups"] == 1
    assert document["images"] == {"train": 1, "test": 1}
    assert document["fractions"] == {"train": 0.5, "test": 0.5}


def test_labels_of_copies_conflict_where_one_has_what_another_has_not() -> None:
    photos = [0, 0, 1, 1, 2]
    values = np.array([[1, 0], [1, 1], [1, -1], [1, 1], [0, 0]])  # an unknown value conflicts with none
    [conflict] = label_conflicts(["a", "a|b", "a", "a|b", ""], photos, values)
    assert conflict.images == (0, 1)
    assert conflict.labels == {"a": 1, "a|b": 1}
