"""Groups from pairs: certain pairs always join, weak ones only where enough of them agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from excite.audit.duplicates.grouping import UnionFind, group_images
from excite.audit.duplicates.pair import Pair


def pair(a: int, b: int, confidence: float = 1.0) -> Pair:
    return Pair(a, b, "same photo", "seen", confidence)


def members(groups: tuple[int, ...]) -> set[frozenset[int]]:
    return {frozenset(i for i, g in enumerate(groups) if g == number) for number in groups}


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    n = draw(st.integers(0, 25))
    ends = st.tuples(st.integers(0, max(0, n - 1)), st.integers(0, max(0, n - 1)))
    return n, [(min(e), max(e)) for e in draw(st.lists(ends, max_size=40)) if n and e[0] != e[1]]


@given(graphs())
def test_certain_pairs_give_the_connected_components(graph: tuple[int, list[tuple[int, int]]]) -> None:
    n, edges = graph
    linked = group_images(n, [pair(a, b) for a, b in edges])
    if n:
        ends = np.array(edges, dtype=int).reshape(-1, 2).T
        graph_of = coo_array((np.ones(len(edges)), (ends[0], ends[1])), shape=(n, n))
        assert members(linked.groups) == members(tuple(connected_components(graph_of, directed=False)[1]))
    assert linked.doubtful == ()
    assert list(dict.fromkeys(linked.groups)) == list(range(len(set(linked.groups))))  # by first member
    assert group_images(n, [], must_link=edges).groups == linked.groups


@pytest.mark.slow
@given(graphs(), st.lists(st.sampled_from(["", "p", "q", "r"]), min_size=25, max_size=25), st.data())
def test_decisions_are_applied(
    graph: tuple[int, list[tuple[int, int]]], names: list[str], data: st.DataObject
) -> None:
    n, edges = graph
    rejected = data.draw(st.lists(st.sampled_from(edges), max_size=3)) if edges else []
    known = names[:n]
    linked = group_images(n, [pair(a, b) for a, b in edges], known=known, cannot_link=rejected)
    for a in range(n):
        for b in range(a):
            if known[a] and known[a] == known[b]:
                assert linked.groups[a] == linked.groups[b]
    for a, b in rejected:
        if not known[a] or known[a] != known[b]:
            assert linked.groups[a] != linked.groups[b]
        assert not any({p.a, p.b} == {a, b} for p in linked.used)
    assert all(linked.groups[p.a] != linked.groups[p.b] for p in linked.doubtful)


def test_one_weak_pair_does_not_join_two_large_groups_but_several_do() -> None:
    inside = [pair(0, i) for i in range(1, 14)] + [pair(14, i) for i in range(15, 28)]
    lone = group_images(28, [*inside, pair(3, 20, 0.9)])
    assert len(set(lone.groups)) == 2
    assert lone.doubtful == (pair(3, 20, 0.9),)
    several = group_images(28, [*inside, pair(3, 20, 0.9), pair(4, 21, 0.9)])
    assert len(set(several.groups)) == 1
    assert len(set(group_images(28, [*inside, pair(3, 20, 0.999)]).groups)) == 1


def test_one_image_joins_a_group_with_less_evidence_than_a_group() -> None:
    inside = [pair(0, i) for i in range(1, 14)]
    assert len(set(group_images(15, [*inside, pair(5, 14, 0.8)]).groups)) == 1
    assert len(set(group_images(15, [*inside, pair(5, 14, 0.6)]).groups)) == 2
    assert len(set(group_images(15, [*inside, pair(5, 14, 0.6), pair(6, 14, 0.6)]).groups)) == 1


def test_a_chain_of_weak_pairs_forms_no_large_group() -> None:
    chain = [pair(i, i + 1, 0.8) for i in range(399)]
    sizes = [len(group) for group in members(group_images(400, chain).groups)]
    assert max(sizes) < 10


def test_an_oversized_group_is_reported_unless_the_user_defined_it() -> None:
    chain = [pair(i, i + 1) for i in range(59)]
    assert group_images(200, chain).oversized == (0,)
    assert group_images(200, [], known=["patient"] * 60 + [""] * 140).oversized == ()
    assert group_images(2000, chain).oversized == ()


def test_accepting_joins_a_doubtful_pair_and_rejecting_separates_a_certain_one() -> None:
    weak, sure = pair(0, 1, 0.5), pair(2, 3)
    assert group_images(4, [weak, sure]).groups == (0, 1, 2, 2)
    assert group_images(4, [weak, sure], must_link=[(1, 0)], cannot_link=[(3, 2)]).groups == (0, 0, 1, 2)
    # A third image that looks like both cannot join what a person keeps apart.
    assert len(set(group_images(3, [pair(0, 2), pair(1, 2)], cannot_link=[(0, 1)]).groups)) == 2


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_or_no_images(n: int) -> None:
    assert group_images(n, []).groups == tuple(range(n))


def test_sizes_of_sets_add_up() -> None:
    sets = UnionFind(6)
    for a, b in [(0, 1), (2, 3), (1, 3), (0, 2)]:
        sets.join(a, b)
    assert [sets.size(i) for i in range(6)] == [4, 4, 4, 4, 1, 1]
