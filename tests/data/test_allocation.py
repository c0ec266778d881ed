"""A new group moves few others, and each class meets its fractions to within its largest group."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from excite.data.allocation import Allocation

SHARES = np.array([0.2, 0.1, 0.7])
Groups = dict[str, list[int]]  # the class of each image of each group


def allocate(groups: Groups, seed: int = 0, shares: np.ndarray = SHARES, classes: int = 3) -> dict[str, int]:
    units = np.repeat(np.arange(len(groups)), [len(labels) for labels in groups.values()])
    targets = np.array([label for labels in groups.values() for label in labels])
    parts = Allocation(units, targets, list(groups), classes, seed).parts(shares)
    return dict(zip(groups, parts.tolist(), strict=True))


def past_each_cut(groups: Groups, one: dict[str, int], two: dict[str, int], parts: int) -> list[int]:
    """Images of the groups in both that are before a cut in one and after it in the other."""
    both = [(len(groups[name]), one[name], two[name]) for name in one.keys() & two.keys()]
    return [
        sum(size for size, first, second in both if (first < cut) != (second < cut))
        for cut in range(1, parts)
    ]


def test_ranks_are_those_of_the_published_hash() -> None:
    groups = {f"patient {number}": [0] for number in range(50)}
    found = allocate(groups, seed=3, classes=1)

    def rank(name: str) -> bytes:
        return hashlib.blake2b(f"3\0{name}".encode(), digest_size=8).digest()

    order = sorted(groups, key=rank)
    # One image more or less, as the rounding of this class falls.
    assert {found[name] for name in order[:9]} == {0}
    assert {found[name] for name in order[16:]} == {2}
    assert [found[name] for name in order] == sorted(found.values())
    assert [list(found.values()).count(part) for part in range(3)] == [10, 5, 35]


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(5, 80), min_size=3, max_size=3),
    label=st.integers(0, 2),
    seed=st.integers(0, 99),
    name=st.text(max_size=5),
    k=st.sampled_from([0, 2, 5]),
)
def test_one_more_image_moves_at_most_one_other_past_each_cut(
    counts: list[int], label: int, seed: int, name: str, k: int
) -> None:
    shares = np.full(k, 1 / k) if k else SHARES
    before = {f"{c}-{i}": [c] for c, count in enumerate(counts) for i in range(count)}
    after = {f"new {name}": [label], **before}
    one, two = allocate(before, seed, shares), allocate(after, seed, shares)
    assert max(past_each_cut(after, one, two, len(shares))) <= 1
    assert all(one[group] == two[group] for group in before if before[group] != [label])


sizes = st.lists(st.integers(1, 30), min_size=8, max_size=60)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    pure=st.lists(sizes, min_size=3, max_size=3),
    mixed=st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=20), max_size=20),
    label=st.integers(0, 2),
    size=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_a_new_group_moves_neither_larger_groups_nor_those_of_other_classes(
    pure: list[list[int]], mixed: list[list[int]], label: int, size: int, seed: int
) -> None:
    before = {f"{c}-{i}": [c] * n for c, of_class in enumerate(pure) for i, n in enumerate(of_class)}
    before |= {f"mixed {i}": labels for i, labels in enumerate(mixed)}
    after = {**before, "new": [label] * size}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Allocation, "_fill", lambda *_: None)
        cut = allocate(before, seed), allocate(after, seed)
    one, two = allocate(before, seed), allocate(after, seed)
    assume(cut == (one, two))  # no part was left without a class
    for name, labels in before.items():
        level = len(labels).bit_length()
        if set(labels) != {label} or level > size.bit_length():
            assert one[name] == two[name]
    # Each level moves what the one before exceeds, and adds up to twice its largest group at each cut.
    assert max(past_each_cut(after, one, two, 3)) <= 17 * size


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(pure=st.lists(sizes, min_size=3, max_size=3), seed=st.integers(0, 99), k=st.sampled_from([0, 2, 3, 5]))
def test_each_cut_is_within_the_largest_group_of_a_class(pure: list[list[int]], seed: int, k: int) -> None:
    shares = np.full(k, 1 / k) if k else SHARES
    groups = {f"{c}-{i}": [c] * n for c, of_class in enumerate(pure) for i, n in enumerate(of_class)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Allocation, "_fill", lambda *_: None)
        found = allocate(groups, seed, shares)
    for label, of_class in enumerate(pure):
        for cut, share in enumerate(np.cumsum(shares)[:-1]):
            inside = sum(n for i, n in enumerate(of_class) if found[f"{label}-{i}"] <= cut)
            assert abs(inside - share * sum(of_class)) <= max(of_class)
    assert all(
        {part for name, part in allocate(groups, seed, shares).items() if name[0] == str(label)}
        == set(range(len(shares)))
        for label in range(3)
    )


def test_a_part_without_a_class_gets_the_nearest_group_and_not_the_largest() -> None:
    groups = {"big": [0] * 80, **{f"small {i}": [0] for i in range(5)}}
    for seed in range(20):
        found = allocate(groups, seed, np.array([0.1, 0.1, 0.8]), 1)
        assert found["big"] == 2
        assert set(found.values()) == {0, 1, 2}


def test_new_images_compensate_for_those_already_assigned() -> None:
    units, targets = np.arange(100), np.arange(100) % 2
    allocation = Allocation(units, targets, [str(n) for n in range(100)], 2, 0)
    # 100 images of class 0 and none of class 1 are in part 0.
    parts = allocation.parts(np.array([0.5, 0.5]), np.array([[100, 0], [0, 0]]))
    assert [(parts[targets == label] == 0).sum() for label in (0, 1)] == [0, 25]
    held = allocation.parts(np.array([0.5, 0.5]), np.array([[20, 0], [0, 0]]))
    assert (held[targets == 0] == 0).sum() == 15
